-- When the first of those jobs became ready that have replaced each other, the last of which this is. NULL: when it was created.
ALTER TABLE defer_jobs ADD COLUMN since INTEGER;
-- The job is left out if another with this key has started less than so many milliseconds before. Set to NULL once it has started.
ALTER TABLE defer_jobs ADD COLUMN throttle_key TEXT;
ALTER TABLE defer_jobs ADD COLUMN throttle_every INTEGER;

-- The last start of each of these keys. Forgotten after `until`.
CREATE TABLE defer_starts (
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    started INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX defer_starts_until ON defer_starts (queue, until);
