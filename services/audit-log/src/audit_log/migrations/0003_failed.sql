-- What failed or was denied for one customer: few among its entries, and often what people look for.
CREATE INDEX payload_failed_by_customer ON payload (customer_id, at, index)
    WHERE outcome <> 'success';
