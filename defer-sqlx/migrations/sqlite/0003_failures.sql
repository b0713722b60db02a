-- Failed jobs by the first line of their errors. What asks for it has to say it in these words.
CREATE INDEX defer_jobs_failures ON defer_jobs
    (queue, name, substr(coalesce(error, ''), 1, min(200, instr(coalesce(error, '') || char(10), char(10)) - 1)), ended)
    WHERE state = 4 AND ended IS NOT NULL;
