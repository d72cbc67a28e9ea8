-- What people look at answers at once, however many records there are.

-- The list of records goes from key to key, in the order of their deadlines.
CREATE INDEX deadline_key_in_order
    ON deadline_key ((coalesce(purge_from, 'infinity'::timestamptz)), id);

-- Records of each key by the day they were registered on, as differences, like key_tally: holdings
-- on a day that is past are those of today without what was registered since.
CREATE TABLE registered_tally (
    key            bigint  NOT NULL,
    registered_on  date    NOT NULL,    -- a civil day in Sweden
    records        bigint  NOT NULL
);
CREATE INDEX registered_tally_on ON registered_tally (registered_on);
INSERT INTO registered_tally
     SELECT key, (registered_at AT TIME ZONE 'Europe/Stockholm')::date AS registered_on, count(*)
       FROM record
      WHERE key IS NOT NULL
   GROUP BY key, registered_on;

CREATE OR REPLACE FUNCTION count_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, count(*) FROM added WHERE key IS NOT NULL GROUP BY key, holder;
    INSERT INTO registered_tally
         SELECT key, (registered_at AT TIME ZONE 'Europe/Stockholm')::date AS registered_on,
                count(*)
           FROM added
          WHERE key IS NOT NULL
       GROUP BY key, registered_on;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION count_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, -count(*) FROM removed WHERE key IS NOT NULL GROUP BY key, holder;
    INSERT INTO registered_tally
         SELECT key, (registered_at AT TIME ZONE 'Europe/Stockholm')::date AS registered_on,
                -count(*)
           FROM removed
          WHERE key IS NOT NULL
       GROUP BY key, registered_on;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION count_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_tally
         SELECT key, holder, sum(records)
           FROM (SELECT key, holder, 1 AS records FROM added
                 UNION ALL
                 SELECT key, holder, -1 FROM removed) AS both_ways
          WHERE key IS NOT NULL
       GROUP BY key, holder
         HAVING sum(records) <> 0;
    INSERT INTO registered_tally
         SELECT key, (registered_at AT TIME ZONE 'Europe/Stockholm')::date AS registered_on,
                sum(records)
           FROM (SELECT key, registered_at, 1 AS records FROM added
                 UNION ALL
                 SELECT key, registered_at, -1 FROM removed) AS both_ways
          WHERE key IS NOT NULL
       GROUP BY key, registered_on
         HAVING sum(records) <> 0;
    RETURN NULL;
END $$;

CREATE INDEX canary_chunk ON canary (chunk);
CREATE INDEX purge_chunk_answered_at ON purge_chunk (answered_at) WHERE state = 'done';
CREATE INDEX purge_job_opened ON purge_job (opened_at);
