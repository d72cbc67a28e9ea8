-- What was expected to become due on a day, as known at the beginning of the day before.
CREATE TABLE forecast (
    day       date    NOT NULL,
    category  text    NOT NULL,
    records   bigint  NOT NULL,
    PRIMARY KEY (day, category)
);

-- Purges of unusual size, frozen until two people approve.
CREATE TABLE purge_guard (
    id         bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category   text         NOT NULL,
    day        date         NOT NULL,
    records    bigint       NOT NULL,
    why        text         NOT NULL,
    frozen_at  timestamptz  NOT NULL,
    first_by   text,
    first_at   timestamptz,
    second_by  text,
    second_at  timestamptz,
    lifted_at  timestamptz,              -- it was no longer of unusual size, or of another one
    CHECK ((first_by IS NULL) = (first_at IS NULL)),
    CHECK ((second_by IS NULL) = (second_at IS NULL)),
    CHECK (second_by IS NULL OR first_by IS NOT NULL),
    CHECK (second_by <> first_by)
);
CREATE UNIQUE INDEX purge_guard_open ON purge_guard (category)
    WHERE second_by IS NULL AND lifted_at IS NULL;
