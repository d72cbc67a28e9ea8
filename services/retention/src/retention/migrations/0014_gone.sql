-- How many records are gone, by the days that a report needs to say what was held on a day that is
-- past.  Nothing in it leads to a record: it is counted when the registry forgets.
CREATE TABLE record_gone (
    category       text         NOT NULL,
    registered_on  date         NOT NULL,   -- civil days in Sweden
    gone_on        date         NOT NULL,   -- as its holder says; from then on it is not held
    keep_through   date,                    -- these three as they were last; NULL: the time was open
    purge_from     timestamptz,
    must_purge_by  timestamptz,
    records        bigint       NOT NULL
);
CREATE INDEX record_gone_on ON record_gone (gone_on);
