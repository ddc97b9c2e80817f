BEGIN TRANSACTION;
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL REFERENCES lane,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    maybe_sent INTEGER NOT NULL DEFAULT 0,
    again INTEGER NOT NULL DEFAULT 0,
    was_gone INTEGER NOT NULL DEFAULT 0,
    code, message TEXT, request_id TEXT, result TEXT,
    line INTEGER,
    created REAL NOT NULL, sent REAL, ended REAL, round_trip REAL, waited REAL
);
INSERT INTO "job" VALUES(1,'a',1,'{}','done',1795219200.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,1795219200.0,NULL,1795219201.0,0.07,NULL);
INSERT INTO "job" VALUES(2,'b',1,'{}','pending',1795219200.0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,1795219200.0,NULL,NULL,NULL,NULL);
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    vendor TEXT NOT NULL, account TEXT NOT NULL, action TEXT NOT NULL, version TEXT NOT NULL,
    UNIQUE (vendor, account, action, version)
);
INSERT INTO "lane" VALUES(1,'volcengine','account','StopWebcast','2020-12-01');
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "note" VALUES('owner','process 1 on host');
CREATE TABLE second (
    lane INTEGER NOT NULL, second INTEGER NOT NULL,
    answered INTEGER NOT NULL, done INTEGER NOT NULL, deferred INTEGER NOT NULL,
    PRIMARY KEY (lane, second)
) WITHOUT ROWID;
CREATE INDEX due ON job (lane, due) WHERE state = 'pending';
CREATE INDEX deferred ON job (lane, due) WHERE state = 'pending' AND attempts > 0;
COMMIT;
PRAGMA application_id = 1986883428;
PRAGMA user_version = 1;
