-- The journal: what this runner has claimed, how far it came, and what it owes the control plane.

-- One row for each start of the daemon.
CREATE TABLE process (
    id            INTEGER PRIMARY KEY,
    started_at    TEXT NOT NULL,
    registered_as TEXT              -- id in the control plane, where it registers processes
) STRICT;

-- One row for each execution that was asked for.
CREATE TABLE claim (
    id           INTEGER PRIMARY KEY,
    process      INTEGER NOT NULL REFERENCES process (id),
    job_id       TEXT NOT NULL,
    job          TEXT NOT NULL,     -- the job as JSON, without secrets
    requested_at TEXT NOT NULL,     -- intent: before the execution is created
    newest_before TEXT,             -- the newest execution that the job had then
    execution_id TEXT UNIQUE,       -- outcome: the execution that was created or adopted
    drives       INTEGER NOT NULL DEFAULT 0,  -- how often a process began to drive it
    outcome      TEXT,              -- what the effect produced, once it is done
    ended_at     TEXT,
    ended_as     TEXT
) STRICT;
CREATE INDEX claim_open ON claim (id) WHERE ended_at IS NULL;

-- Intent and outcome of each step.
CREATE TABLE step (
    claim    INTEGER NOT NULL REFERENCES claim (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    done_at  TEXT,
    PRIMARY KEY (claim, name)
) STRICT, WITHOUT ROWID;

-- The outbox: every report, in the order it must arrive.
CREATE TABLE report (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    claim      INTEGER NOT NULL REFERENCES claim (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,       -- status, result, outputs, job
    body       TEXT NOT NULL,       -- the request's JSON
    queued_at  TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'queued',  -- queued, delivered, refused, dropped
    settled_at TEXT,
    note       TEXT
) STRICT;
CREATE INDEX report_queued ON report (claim, seq) WHERE state = 'queued';
