-- Times are milliseconds since 1970 by the database's clock.
-- state: 0 held, 1 ready, 2 taken, 3 done, 4 failed, 5 skipped, 6 cancelled, 7 duplicate.
-- A job that any client inserts needs an id (a ULID, in upper case), a queue, a name and a payload (JSON).
-- The checks keep out what nobody could read or count on: the largest number is 2^53 - 1.
CREATE TABLE defer_jobs (
    id TEXT NOT NULL PRIMARY KEY
        CHECK (length(id) = 26 AND id < '8' AND id NOT GLOB '*[^0-9A-HJKMNP-TV-Z]*'),
    queue TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}',
    state INTEGER NOT NULL DEFAULT 1 CHECK (state BETWEEN 0 AND 7),
    priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -32768 AND 32767),
    due INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
        CHECK (due BETWEEN 0 AND 9007199254740991),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 2147483647),
    deaths INTEGER NOT NULL DEFAULT 0 CHECK (deaths BETWEEN 0 AND 1000000),
    claim INTEGER NOT NULL DEFAULT 0 CHECK (claim BETWEEN 0 AND 9007199254740991),
    holder TEXT CHECK (holder IS NOT NULL OR state NOT IN (0, 2)),
    condition INTEGER NOT NULL DEFAULT 0,
    status INTEGER,
    outcome TEXT,
    serial_key TEXT,
    unique_key TEXT,
    unique_claim TEXT,
    turn INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
        CHECK (turn BETWEEN 0 AND 9007199254740991),
    error TEXT,
    cancel INTEGER NOT NULL DEFAULT 0,
    duplicate_of TEXT,
    created INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
        CHECK (created BETWEEN 0 AND 9007199254740991),
    ended INTEGER
) STRICT, WITHOUT ROWID;

-- Ready jobs, apart from those that may have to wait for their turn, so that these are in nobody's way.
CREATE INDEX defer_jobs_ready ON defer_jobs (queue, name, priority DESC, due, id)
    WHERE state = 1 AND serial_key IS NULL;
CREATE INDEX defer_jobs_ready_serial ON defer_jobs (queue, name, priority DESC, due, id)
    WHERE state = 1 AND serial_key IS NOT NULL;
CREATE INDEX defer_jobs_holder ON defer_jobs (holder) WHERE state IN (0, 2);
CREATE INDEX defer_jobs_serial ON defer_jobs (queue, serial_key, turn)
    WHERE serial_key IS NOT NULL AND state IN (1, 2);
CREATE UNIQUE INDEX defer_jobs_turn ON defer_jobs (queue, serial_key) WHERE serial_key IS NOT NULL AND state = 2;
CREATE UNIQUE INDEX defer_jobs_unique ON defer_jobs (queue, unique_claim) WHERE unique_claim IS NOT NULL;
CREATE INDEX defer_jobs_ended ON defer_jobs (queue, state, ended) WHERE ended IS NOT NULL;

-- The processes that hold or run jobs. `beat` is counted up every three seconds.
CREATE TABLE defer_holders (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    names TEXT NOT NULL,
    beat INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The types of jobs that nobody takes.
CREATE TABLE defer_pauses (
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (queue, name)
) STRICT, WITHOUT ROWID;
