-- Categories that are not purged because the two engines differ on a date of theirs.
CREATE TABLE category_frozen (
    category  text         PRIMARY KEY,
    since     timestamptz  NOT NULL,
    why       text         NOT NULL
);
