-- A customer's records in order of their deadlines, without a look at any that is not shown.
DROP INDEX record_customer;
CREATE INDEX record_customer ON record (customer_id, key, id);
