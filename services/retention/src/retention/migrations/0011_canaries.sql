-- Canaries: records of nobody, by which one sees whether what holders confirm is true.
CREATE TABLE canary (
    holder      text         NOT NULL,
    category    text         NOT NULL,
    record_id   text         NOT NULL,
    state       text         NOT NULL
                CHECK (state IN ('planting', 'due', 'looking', 'survived', 'erased', 'abandoned')),
    planted_at  timestamptz  NOT NULL,
    asked_at    timestamptz  NOT NULL,               -- when its holder was asked last
    late_at     timestamptz  NOT NULL,               -- when on-call is told
    due_at      timestamptz,                         -- when it was registered, due
    chunk       uuid         REFERENCES purge_chunk, -- what its purge was confirmed with
    erased_at   timestamptz,                         -- when its holder found it no more
    PRIMARY KEY (holder, category, record_id),
    CHECK (due_at IS NOT NULL OR state IN ('planting', 'abandoned')),
    CHECK (chunk IS NOT NULL OR state IN ('planting', 'due', 'abandoned')),
    CHECK ((state = 'erased') = (erased_at IS NOT NULL))
);
-- One at a time.
CREATE UNIQUE INDEX canary_on_its_way ON canary (holder, category)
    WHERE state NOT IN ('erased', 'abandoned');

-- Of the entity that canaries belong to; as retention.just_due has them.
INSERT INTO fiscal_year (entity, first_day, last_day, closed)
     SELECT 'canary', make_date(year, 1, 1), make_date(year, 12, 31), true
       FROM generate_series(1990, 2100) AS year;
