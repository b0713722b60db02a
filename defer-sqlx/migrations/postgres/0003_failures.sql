-- Failed jobs by the first line of their errors. What asks for it has to say it in these words.
CREATE INDEX defer_jobs_failures ON defer_jobs
    (queue, name, (left(split_part(coalesce(error, ''), E'\n', 1), 200) COLLATE "C"), ended)
    WHERE state = 4 AND ended IS NOT NULL;
