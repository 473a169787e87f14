-- reports: products whose free stock fell to the reorder point, and how often
CREATE TABLE low_stock (
    product_id uuid PRIMARY KEY,
    available  bigint NOT NULL,
    times      bigint NOT NULL,
    last_ms    bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON low_stock TO dd_reports;
