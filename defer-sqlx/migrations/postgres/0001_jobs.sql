-- Times are milliseconds since 1970 by the database's clock.
-- state: 0 held, 1 ready, 2 taken, 3 done, 4 failed, 5 skipped, 6 cancelled, 7 duplicate.
-- A job that any client inserts needs an id (a ULID, in upper case), a queue, a name and a payload (JSON).
-- The checks keep out what nobody could read or count on: the largest number is 2^53 - 1.
-- Keys are compared byte by byte: an update of the system's collations cannot break their indexes.
CREATE TABLE defer_jobs (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$'),
    queue text COLLATE "C" NOT NULL DEFAULT 'default',
    name text COLLATE "C" NOT NULL,
    payload text NOT NULL,
    metadata text NOT NULL DEFAULT '{}',
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 0 AND 7),
    priority smallint NOT NULL DEFAULT 0,
    due bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        CHECK (due BETWEEN 0 AND 9007199254740991),
    attempts bigint NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 2147483647),
    deaths int NOT NULL DEFAULT 0 CHECK (deaths BETWEEN 0 AND 1000000),
    claim bigint NOT NULL DEFAULT 0 CHECK (claim BETWEEN 0 AND 9007199254740991),
    holder text COLLATE "C" CHECK (holder IS NOT NULL OR state NOT IN (0, 2)),
    condition smallint NOT NULL DEFAULT 0,
    status smallint,
    outcome text,
    serial_key text COLLATE "C",
    unique_key text COLLATE "C",
    unique_claim text COLLATE "C",
    turn bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        CHECK (turn BETWEEN 0 AND 9007199254740991),
    error text,
    cancel smallint NOT NULL DEFAULT 0,
    duplicate_of text,
    created bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        CHECK (created BETWEEN 0 AND 9007199254740991),
    ended bigint
) WITH (
    -- Each job is a few dead rows soon: by the share of a large table they would be cleared too late.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.05
);

-- Ready jobs, apart from those that may have to wait for their turn, so that these are in nobody's way.
CREATE INDEX defer_jobs_ready ON defer_jobs (queue, name, priority DESC, due, id)
    WHERE state = 1 AND serial_key IS NULL;
CREATE INDEX defer_jobs_ready_serial ON defer_jobs (queue, name, priority DESC, due, id)
    WHERE state = 1 AND serial_key IS NOT NULL;
CREATE INDEX defer_jobs_holder ON defer_jobs (holder) WHERE state IN (0, 2);
CREATE INDEX defer_jobs_serial ON defer_jobs (queue, serial_key, turn, id)
    WHERE serial_key IS NOT NULL AND state IN (1, 2);
CREATE UNIQUE INDEX defer_jobs_turn ON defer_jobs (queue, serial_key) WHERE serial_key IS NOT NULL AND state = 2;
CREATE UNIQUE INDEX defer_jobs_unique ON defer_jobs (queue, unique_claim) WHERE unique_claim IS NOT NULL;
CREATE INDEX defer_jobs_ended ON defer_jobs (queue, state, ended) WHERE ended IS NOT NULL;

-- The processes that hold or run jobs. `beat` is counted up every three seconds.
CREATE TABLE defer_holders (
    id text COLLATE "C" PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    host text NOT NULL,
    pid bigint NOT NULL,
    version text NOT NULL,
    started bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    names text NOT NULL,
    beat bigint NOT NULL DEFAULT 0
);

-- The types of jobs that nobody takes.
CREATE TABLE defer_pauses (
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, name)
);
