-- Random text in the client version of the request, by which an execution is known to be that of this
-- claim. Null for claims of versions that sent none.
ALTER TABLE claim ADD COLUMN nonce TEXT;
