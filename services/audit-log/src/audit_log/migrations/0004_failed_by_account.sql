-- What failed or was denied for one account: few among its entries, and often looked for.
CREATE INDEX payload_failed_by_actor ON payload (actor, at, index)
    WHERE outcome <> 'success' AND actor IS NOT NULL;
