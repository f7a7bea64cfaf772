-- The key of fingerprints of Secrets, made once for each runner. A fingerprint says whether two values are equal;
-- the key keeps others from guessing values by it. It opens nothing.
CREATE TABLE fingerprint_key (
    runner_id TEXT PRIMARY KEY,
    key       BLOB NOT NULL
) STRICT;
