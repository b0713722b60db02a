-- When the first of those jobs became ready that have replaced each other, the last of which this is. NULL: when it was created.
ALTER TABLE defer_jobs ADD COLUMN since bigint;
-- The job is left out if another with this key has started less than so many milliseconds before. Set to NULL once it has started.
ALTER TABLE defer_jobs ADD COLUMN throttle_key text COLLATE "C";
ALTER TABLE defer_jobs ADD COLUMN throttle_every bigint;

-- The last start of each of these keys, of a long one by its SHA-256. Forgotten after `until`.
CREATE TABLE defer_starts (
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    started bigint NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (queue, key)
);
CREATE INDEX defer_starts_until ON defer_starts (queue, until);
