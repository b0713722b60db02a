-- How far the attempt that runs says that it is: its claim, a blank, and JSON. Under another claim it is that of an earlier attempt.
ALTER TABLE defer_jobs ADD COLUMN progress text;
