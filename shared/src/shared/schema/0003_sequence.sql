-- How far a producer has numbered the actions it announced, so that the master log can name one
-- that never arrives.  In the transaction of the action itself: the count has no gaps of its own.
CREATE TABLE numbered (
    source  text    PRIMARY KEY,   -- ce_source
    last    bigint  NOT NULL
);
