-- The journal: executions of this runner, and the reports that the control plane does not have yet.

-- One row for each start of the agent.
CREATE TABLE process (
    id            INTEGER PRIMARY KEY,
    started_at    TEXT NOT NULL,
    registered_as TEXT               -- id in the control plane, if it registers processes
) STRICT;

-- One row for each execution that was requested: the intent, written before the request.
CREATE TABLE claim (
    id            INTEGER PRIMARY KEY,
    process       INTEGER NOT NULL REFERENCES process (id),
    job           TEXT NOT NULL,     -- the job as JSON, without secrets
    requested_at  TEXT NOT NULL,
    newest_before TEXT,              -- newest execution of the job before the request
    execution_id  TEXT UNIQUE,       -- as in the event "created"
    ended_at      TEXT               -- time of the event "ended"
) STRICT;
CREATE INDEX claim_open ON claim (id) WHERE ended_at IS NULL;

-- What happened to an execution, in order. Its state is the fold of its events.
CREATE TABLE event (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    claim INTEGER NOT NULL REFERENCES claim (id) ON DELETE CASCADE,
    at    TEXT NOT NULL,
    event TEXT NOT NULL              -- JSON
) STRICT;
CREATE INDEX event_claim ON event (claim, seq);

-- The outbox: reports, in the order in which they must arrive.
CREATE TABLE report (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    claim      INTEGER NOT NULL REFERENCES claim (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,        -- status, result, outputs, job
    report     TEXT NOT NULL,        -- JSON
    queued_at  TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'queued',  -- queued, delivered, refused, dropped
    settled_at TEXT,
    note       TEXT
) STRICT;
CREATE INDEX report_queued ON report (claim, seq) WHERE state = 'queued';

-- The key of each runner for keyed hashes of Secret values, generated on first use. The hashes show
-- whether values are equal; the key prevents guessing a value by its hash.
CREATE TABLE hash_key (
    runner_id TEXT PRIMARY KEY,
    key       BLOB NOT NULL
) STRICT;
