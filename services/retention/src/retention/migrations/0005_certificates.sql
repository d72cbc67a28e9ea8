-- What became of a job, as its deletion certificate says it: canonical JSON, committed to by the
-- decision that closed the job.
ALTER TABLE purge_job ADD statement text;
