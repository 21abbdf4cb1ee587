-- A database of schema version 1, as that opsbot left it (sqlite3's .dump): one run waits for a person, its page is open.
BEGIN TRANSACTION;
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
INSERT INTO "application_versions" VALUES('b0144652-9753-4d21-879d-70bbe3f6e181','engine-1',1795347730000,1795347730000,'opsbot');
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',1,'opsbot.load','"{\"plan\":{\"run_id\":\"01M81J18G05P1P72VW0JHZZPV9\",\"command\":\"/supervisor quarantine fraud-scorer\",\"runbook\":{\"id\":\"quarantine\",\"title\":\"Quarantine fraud-scorer of payments\",\"product\":\"supervisor\",\"target_kind\":\"child\",\"symptoms\":\"\",\"steps\":[{\"number\":\"1\",\"text\":\"Stop `fraud-scorer` and keep it from being restarted: `handle.quarantine_child()`\",\"action\":\"handle.quarantine_child()\",\"arguments\":{},\"condition\":null,\"expectation\":\"Child marked as `Quarantined` within 30s\",\"budget\":\"PT2M\",\"line\":0}],\"escalation\":\"\",\"total\":\"PT2M\",\"sla\":null,\"severity\":\"high\",\"inputs\":{},\"source\":\"\",\"danger\":\"\",\"command\":\"\",\"escalation_actions\":[],\"line\":0,\"faults\":[],\"stale\":\"\"},\"target\":{\"product\":\"supervisor\",\"kind\":\"child\",\"name\":\"fraud-scorer\",\"scope\":\"payments\"},\"actor\":{\"surface\":\"slack\",\"id\":\"U0ALICE\",\"login\":\"\"},\"place\":{\"surface\":\"slack\",\"channel\":\"C0OPS\",\"thread\":\"\"},\"reason\":\"\",\"inputs\":{},\"changes\":true,\"dangers\":[\"change\"],\"started_at\":\"2026-11-22T12:00:00Z\",\"deadline\":\"2026-11-22T12:02:00Z\",\"severity\":\"high\",\"contacts\":[\"scotlaclair\"],\"repeat\":\"PT20M\",\"verified\":\"\",\"approvers\":[\"bob\",\"scotlaclair\"],\"drill\":false,\"faults\":[]},\"version\":0,\"status\":\"running\",\"current\":0,\"steps\":[{\"status\":\"pending\",\"attempt\":0,\"undecided\":false,\"started_at\":null,\"deadline\":null,\"warned\":false,\"overdue\":false,\"finished_at\":null,\"outcome\":null,\"summary\":\"\",\"observed\":\"\",\"evidence\":\"\",\"language\":\"\",\"sources\":[],\"facts\":[],\"preview\":null,\"digest\":\"\",\"approved_by\":\"\",\"decided_by\":\"\"}],\"escalations\":[],\"overdue\":false,\"finished_at\":null,\"ended_by\":\"\",\"busy\":null,\"cancelling\":\"\",\"given\":{}}"',NULL,NULL,1795347733487,1795347733511,'opsbot_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',4,'DBOS.sleep','2110707733.536646',NULL,NULL,1795347733534,1795347733536,'portable_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',2,'opsbot.save','1',NULL,NULL,1795347733522,1795347733547,'opsbot_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',6,'opsbot.perform','{"kind": "prepared", "at": "2026-11-22T12:00:00Z", "work": {"kind": "prepare", "step": 0, "attempt": 1}, "condition": "none", "observed": "", "preview": {"summary": "quarantine_child fraud-scorer of payments. Cancels its attempt and keeps it from being restarted until somebody restarts it.", "detail": "{\n  \"request_id\": \"<a new UUID>\",\n  \"method\": \"command.quarantine_child\",\n  \"params\": {\n    \"command_id\": \"<a new UUID>\",\n    \"target_id\": \"payments\",\n    \"command\": \"quarantine_child\",\n    \"target\": {\n      \"child_path\": \"/fraud-scorer\"\n    },\n    \"reason\": \"/supervisor quarantine fraud-scorer\",\n    \"requested_by\": \"opsbot:slack:U0ALICE\",\n    \"confirmed\": false,\n    \"requested_at_unix_nanos\": \"<now, in nanoseconds>\"\n  }\n}", "language": "json"}, "digest": "8a25f4f607e1", "problem": "", "missing": false}',NULL,NULL,1795347733598,1795347733608,'opsbot_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',5,'DBOS.asyncio_wait','[1]',NULL,NULL,1795347733598,1795347733615,'opsbot_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',7,'opsbot.save','2',NULL,NULL,1795347733629,1795347733657,'opsbot_json','opsbot',1795347733000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',9,'opsbot.perform','{"kind": "finished", "at": "2026-11-22T12:00:20Z", "work": {"kind": "perform", "step": 0, "attempt": 1}, "status": "failed", "summary": "payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.", "outcome": null, "observed": "", "evidence": "{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}", "language": "json", "sources": [], "facts": [], "preview": null, "digest": ""}',NULL,NULL,1795347733665,1795347737205,'opsbot_json','opsbot',1795347737000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',8,'DBOS.asyncio_wait','[1]',NULL,NULL,1795347733665,1795347737208,'opsbot_json','opsbot',1795347737000);
INSERT INTO "operation_outputs" VALUES('01M81J18G05P1P72VW0JHZZPV9',10,'opsbot.save','3',NULL,NULL,1795347737211,1795347737221,'opsbot_json','opsbot',1795347737000);
CREATE TABLE opsbot_cards (
	run_id VARCHAR(26) NOT NULL, 
	surface VARCHAR(20) NOT NULL, 
	channel VARCHAR(200) NOT NULL, 
	thread VARCHAR(200) NOT NULL, 
	remote_id VARCHAR(200) NOT NULL, 
	link TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	drawn_at VARCHAR(32), 
	attempts INTEGER NOT NULL, 
	next_try_at VARCHAR(32), 
	problem TEXT NOT NULL, 
	PRIMARY KEY (run_id, surface)
);
INSERT INTO "opsbot_cards" VALUES('01M81J18G05P1P72VW0JHZZPV9','slack','C0OPS','','1795348800.000001','http://127.0.0.1:33911/archives/C0OPS/p1795348800000001',3,'2026-11-22T12:00:20.000000+00:00',1,NULL,'');
CREATE TABLE opsbot_cursors (
	name VARCHAR(200) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE opsbot_inbox (
	number INTEGER NOT NULL, 
	"key" VARCHAR(300) NOT NULL, 
	incoming TEXT NOT NULL, 
	received_at VARCHAR(32) NOT NULL, 
	handled BOOLEAN NOT NULL, 
	outcome TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE ("key")
);
INSERT INTO "opsbot_inbox" VALUES(1,'slack:T0OPS:cmd:1.T0OPS.57a27267952f5ec9','{"key":"slack:T0OPS:cmd:1.T0OPS.57a27267952f5ec9","actor":{"surface":"slack","id":"U0ALICE","login":""},"place":{"surface":"slack","channel":"C0OPS","thread":""},"text":"/supervisor pause worker-1 --reason ''deploy''","received_at":"2026-11-22T12:00:00Z","response_url":"http://127.0.0.1:33911/response/Wj7L13W1fy6bECtMmkRte5YD","trigger_id":"1.T0OPS.57a27267952f5ec9","comment_id":0}','2026-11-22T12:00:00.000000+00:00',1,'');
INSERT INTO "opsbot_inbox" VALUES(2,'slack:T0OPS:cmd:2.T0OPS.b839f0fd98632fa5','{"key":"slack:T0OPS:cmd:2.T0OPS.b839f0fd98632fa5","actor":{"surface":"slack","id":"U0ALICE","login":""},"place":{"surface":"slack","channel":"C0OPS","thread":""},"text":"/supervisor quarantine fraud-scorer","received_at":"2026-11-22T12:00:00Z","response_url":"http://127.0.0.1:33911/response/HWtD8G3zpgKn-GSqMqgIpiPo","trigger_id":"2.T0OPS.b839f0fd98632fa5","comment_id":0}','2026-11-22T12:00:00.000000+00:00',1,'');
CREATE TABLE opsbot_journal (
	operation VARCHAR(100) NOT NULL, 
	begun_at VARCHAR(32) NOT NULL, 
	begun INTEGER NOT NULL, 
	result TEXT, 
	PRIMARY KEY (operation)
);
INSERT INTO "opsbot_journal" VALUES('01M81J18G05P1P72VW0JHZZPV9:1:1','2026-11-22T12:00:00.000000+00:00',1,'{"result":{"status":"failed","summary":"payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.","evidence":"{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}","language":"json","observations":[{"name":"CommandResult","value":"Accepted","provenance":"renamed","source":"result.accepted of the last command; it says that the command was taken, not that it worked"},{"name":"child.attempt","value":1,"provenance":"renamed","source":"child_runtime_records[child].attempt"},{"name":"child.operation","value":"quarantined","provenance":"renamed","source":"child_runtime_records[child].operation"},{"name":"child.present","value":true,"provenance":"derived","source":"whether child_runtime_records holds the child"},{"name":"child.status","value":"cancelling","provenance":"renamed","source":"child_runtime_records[child].status"},{"name":"child.stop_state","value":"cancel_delivered","provenance":"renamed","source":"child_runtime_records[child].stop_state"},{"name":"command.accepted","value":true,"provenance":"renamed","source":"result.accepted of the last command; it says that the command was taken, not that it worked"}]},"at":"2026-11-22T12:00:20+00:00"}');
CREATE TABLE opsbot_locks (
	target VARCHAR(300) NOT NULL, 
	run_id VARCHAR(26) NOT NULL, 
	owner VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	since VARCHAR(32) NOT NULL, 
	PRIMARY KEY (target)
);
INSERT INTO "opsbot_locks" VALUES('supervisor/payments/child/fraud-scorer','01M81J18G05P1P72VW0JHZZPV9','slack:U0ALICE','/supervisor quarantine fraud-scorer','2026-11-22T12:00:00.000000+00:00');
CREATE TABLE opsbot_outbox (
	number INTEGER NOT NULL, 
	"key" VARCHAR(300) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	surface VARCHAR(20) NOT NULL, 
	channel VARCHAR(200) NOT NULL, 
	thread VARCHAR(200) NOT NULL, 
	run_id VARCHAR(26) NOT NULL, 
	escalation INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	address TEXT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	status VARCHAR(10) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_try_at VARCHAR(32), 
	remote_id VARCHAR(200) NOT NULL, 
	problem TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE ("key")
);
INSERT INTO "opsbot_outbox" VALUES(1,'answer:slack:T0OPS:cmd:1.T0OPS.57a27267952f5ec9','private','slack','C0OPS','','',0,'{"text":"/supervisor has no verb \"pause\". It has status, quarantine and runbook.","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"/supervisor has no verb \"pause\". It has status, quarantine and runbook."}]}]}],"attachments":[{"color":"#ecb22e","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"/supervisor pause worker-1 --reason ''deploy''\n            ^^^^^"}]}]},{"type":"actions","block_id":"buttons:1","elements":[{"type":"button","text":{"type":"plain_text","text":"/supervisor help","emoji":false},"action_id":"opsbot:0","value":"/supervisor help"}]}]}]}','{"response_url":"http://127.0.0.1:33911/response/Wj7L13W1fy6bECtMmkRte5YD","user":"U0ALICE"}','2026-11-22T12:00:00.000000+00:00','sent',1,NULL,'','');
INSERT INTO "opsbot_outbox" VALUES(2,'01M81J18G05P1P72VW0JHZZPV9:2:0:slack:thread','thread','slack','C0OPS','','01M81J18G05P1P72VW0JHZZPV9',0,'{"text":"Step 1 will do: quarantine_child fraud-scorer of payments. Cancels its attempt and keeps it from being restarted until somebody restarts it.\nStep 1: Stop fraud-scorer and keep it from being restarted\nWill do: quarantine_child fraud-scorer of payments. Cancels its attempt and keeps it from being restarted until somebody restarts it.","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"Step 1: ","style":{"bold":true}},{"type":"text","text":"Stop fraud-scorer and keep it from being restarted"}]}]},{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"Will do: quarantine_child fraud-scorer of payments. Cancels its attempt and keeps it from being restarted until somebody restarts it."}]}]},{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"{\n  \"request_id\": \"<a new UUID>\",\n  \"method\": \"command.quarantine_child\",\n  \"params\": {\n    \"command_id\": \"<a new UUID>\",\n    \"target_id\": \"payments\",\n    \"command\": \"quarantine_child\",\n    \"target\": {\n      \"child_path\": \"/fraud-scorer\"\n    },\n    \"reason\": \"/supervisor quarantine fraud-scorer\",\n    \"requested_by\": \"opsbot:slack:U0ALICE\",\n    \"confirmed\": false,\n    \"requested_at_unix_nanos\": \"<now, in nanoseconds>\"\n  }\n}"}]}]}],"attachments":[]}','{}','2026-11-22T12:00:00.000000+00:00','sent',1,NULL,'1795348800.000002','');
INSERT INTO "opsbot_outbox" VALUES(3,'01M81J18G05P1P72VW0JHZZPV9:3:0:slack:thread','thread','slack','C0OPS','','01M81J18G05P1P72VW0JHZZPV9',0,'{"text":"Step 1 needs a decision: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\n? Step 1 needs a decision\npayments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\nExpected: Child marked as Quarantined within 30s","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"? Step 1 needs a decision","style":{"bold":true}}]}]}],"attachments":[{"color":"#ecb22e","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open."}]}]},{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"Expected: ","style":{"bold":true}},{"type":"text","text":"Child marked as Quarantined within 30s","style":{"code":true}}]}]},{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}"}]}]}]},{"color":"#ecb22e","blocks":[{"type":"actions","block_id":"buttons:1","elements":[{"type":"button","text":{"type":"plain_text","text":"Retry","emoji":false},"action_id":"opsbot:0","value":"/runs retry 01M81J18G05P1P72VW0JHZZPV9"},{"type":"button","text":{"type":"plain_text","text":"Done","emoji":false},"action_id":"opsbot:1","value":"/runs done 01M81J18G05P1P72VW0JHZZPV9","style":"primary"},{"type":"button","text":{"type":"plain_text","text":"Failed","emoji":false},"action_id":"opsbot:2","value":"/runs fail 01M81J18G05P1P72VW0JHZZPV9","style":"danger"},{"type":"button","text":{"type":"plain_text","text":"Skip","emoji":false},"action_id":"opsbot:3","value":"/runs skip 01M81J18G05P1P72VW0JHZZPV9"},{"type":"button","text":{"type":"plain_text","text":"Cancel run","emoji":false},"action_id":"opsbot:4","value":"/runs cancel 01M81J18G05P1P72VW0JHZZPV9"}]}]}]}','{}','2026-11-22T12:00:20.000000+00:00','sent',1,NULL,'1795348820.000000','');
INSERT INTO "opsbot_outbox" VALUES(4,'01M81J18G05P1P72VW0JHZZPV9:3:1:slack:thread','thread','slack','C0OPS','','01M81J18G05P1P72VW0JHZZPV9',1,'{"text":"scotlaclair: Quarantine fraud-scorer of payments needs you. step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\n@scotlaclair Quarantine fraud-scorer of payments needs you. Step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\nStep: 1 of 1: Stop fraud-scorer and keep it from being restarted\nExpected: Child marked as Quarantined within 30s\nSeverity: high\nRepeats at 12:20 UTC until somebody acknowledges \u00b7 run 01M81J18G05P1P72VW0JHZZPV9 <@U0SCOT>","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"user","user_id":"U0SCOT"},{"type":"text","text":" "},{"type":"text","text":"Quarantine fraud-scorer of payments needs you.","style":{"bold":true}},{"type":"text","text":" Step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open."}]}]}],"attachments":[{"color":"#e01e5a","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"Step: ","style":{"bold":true}},{"type":"text","text":"1 of 1: Stop fraud-scorer and keep it from being restarted"},{"type":"text","text":"\n"},{"type":"text","text":"Expected: ","style":{"bold":true}},{"type":"text","text":"Child marked as Quarantined within 30s","style":{"code":true}},{"type":"text","text":"\n"},{"type":"text","text":"Severity: ","style":{"bold":true}},{"type":"text","text":"high"}]}]},{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}"}]}]}]},{"color":"#e01e5a","blocks":[{"type":"context","elements":[{"type":"mrkdwn","text":"Repeats at <!date^1795350020^{time}|12:20 UTC> until somebody acknowledges \u00b7 run 01M81J18G05P1P72VW0JHZZPV9","verbatim":true}]},{"type":"actions","block_id":"buttons:1","elements":[{"type":"button","text":{"type":"plain_text","text":"Acknowledge","emoji":false},"action_id":"opsbot:0","value":"/runs ack 01M81J18G05P1P72VW0JHZZPV9","style":"primary"},{"type":"button","text":{"type":"plain_text","text":"Retry","emoji":false},"action_id":"opsbot:1","value":"/runs retry 01M81J18G05P1P72VW0JHZZPV9"},{"type":"button","text":{"type":"plain_text","text":"Cancel run","emoji":false},"action_id":"opsbot:2","value":"/runs cancel 01M81J18G05P1P72VW0JHZZPV9"}]}]}]}','{}','2026-11-22T12:00:20.000000+00:00','sent',1,NULL,'1795348820.000001','');
INSERT INTO "opsbot_outbox" VALUES(5,'01M81J18G05P1P72VW0JHZZPV9:3:1:slack:C0OPS:page','page','slack','C0OPS','','01M81J18G05P1P72VW0JHZZPV9',1,'{"text":"scotlaclair: Quarantine fraud-scorer of payments needs you. step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\n@scotlaclair Quarantine fraud-scorer of payments needs you. Step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.\nStep: 1 of 1: Stop fraud-scorer and keep it from being restarted\nExpected: Child marked as Quarantined within 30s\nSeverity: high\nOpen the run\nRepeats at 12:20 UTC until somebody acknowledges \u00b7 run 01M81J18G05P1P72VW0JHZZPV9 <@U0SCOT>","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"user","user_id":"U0SCOT"},{"type":"text","text":" "},{"type":"text","text":"Quarantine fraud-scorer of payments needs you.","style":{"bold":true}},{"type":"text","text":" Step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open."}]}]}],"attachments":[{"color":"#e01e5a","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"Step: ","style":{"bold":true}},{"type":"text","text":"1 of 1: Stop fraud-scorer and keep it from being restarted"},{"type":"text","text":"\n"},{"type":"text","text":"Expected: ","style":{"bold":true}},{"type":"text","text":"Child marked as Quarantined within 30s","style":{"code":true}},{"type":"text","text":"\n"},{"type":"text","text":"Severity: ","style":{"bold":true}},{"type":"text","text":"high"}]}]},{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}"}]}]}]},{"color":"#e01e5a","blocks":[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"link","url":"http://127.0.0.1:33911/archives/C0OPS/p1795348800000001","text":"Open the run"}]}]},{"type":"context","elements":[{"type":"mrkdwn","text":"Repeats at <!date^1795350020^{time}|12:20 UTC> until somebody acknowledges \u00b7 run 01M81J18G05P1P72VW0JHZZPV9","verbatim":true}]},{"type":"actions","block_id":"buttons:1","elements":[{"type":"button","text":{"type":"plain_text","text":"Acknowledge","emoji":false},"action_id":"opsbot:0","value":"/runs ack 01M81J18G05P1P72VW0JHZZPV9","style":"primary"}]}]}]}','{}','2026-11-22T12:00:20.000000+00:00','sent',1,NULL,'1795348820.000002','');
CREATE TABLE opsbot_runs (
	id VARCHAR(26) NOT NULL, 
	"key" VARCHAR(300) NOT NULL, 
	version INTEGER NOT NULL, 
	open BOOLEAN NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	next_due VARCHAR(32), 
	state TEXT NOT NULL, 
	started_at VARCHAR(32) NOT NULL, 
	continuation INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "opsbot_runs" VALUES('01M81J18G05P1P72VW0JHZZPV9','slack:T0OPS:cmd:2.T0OPS.b839f0fd98632fa5',3,1,'waiting','2026-11-22T12:01:36.000000+00:00','{"plan":{"run_id":"01M81J18G05P1P72VW0JHZZPV9","command":"/supervisor quarantine fraud-scorer","runbook":{"id":"quarantine","title":"Quarantine fraud-scorer of payments","product":"supervisor","target_kind":"child","symptoms":"","steps":[{"number":"1","text":"Stop `fraud-scorer` and keep it from being restarted: `handle.quarantine_child()`","action":"handle.quarantine_child()","arguments":{},"condition":null,"expectation":"Child marked as `Quarantined` within 30s","budget":"PT2M","line":0}],"escalation":"","total":"PT2M","sla":null,"severity":"high","inputs":{},"source":"","danger":"","command":"","escalation_actions":[],"line":0,"faults":[],"stale":""},"target":{"product":"supervisor","kind":"child","name":"fraud-scorer","scope":"payments"},"actor":{"surface":"slack","id":"U0ALICE","login":""},"place":{"surface":"slack","channel":"C0OPS","thread":""},"reason":"","inputs":{},"changes":true,"dangers":["change"],"started_at":"2026-11-22T12:00:00Z","deadline":"2026-11-22T12:02:00Z","severity":"high","contacts":["scotlaclair"],"repeat":"PT20M","verified":"","approvers":["bob","scotlaclair"],"drill":false,"faults":[]},"version":3,"status":"waiting","current":0,"steps":[{"status":"waiting","attempt":1,"undecided":false,"started_at":"2026-11-22T12:00:00Z","deadline":"2026-11-22T12:02:00Z","warned":false,"overdue":false,"finished_at":null,"outcome":null,"summary":"payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.","observed":"","evidence":"{\n  \"answer\": {\n    \"command_id\": \"bd4b319c-bd49-447c-ab8a-13f6d9862d54\",\n    \"accepted\": true,\n    \"status\": \"completed\",\n    \"state_delta\": {\n      \"type\": \"child_control\",\n      \"outcome\": {\n        \"child_id\": \"fraud-scorer\",\n        \"attempt\": 1,\n        \"generation\": 0,\n        \"operation_before\": \"active\",\n        \"operation_after\": \"quarantined\",\n        \"managed_child_state_before\": \"running\",\n        \"managed_child_state_after\": \"quarantined\",\n        \"status\": \"cancelling\",\n        \"cancel_delivered\": true,\n        \"stop_state\": \"cancel_delivered\",\n        \"idempotent\": false,\n        \"failure\": null,\n        \"generation_fence\": null\n      }\n    }\n  },\n  \"record\": {\n    \"child_id\": \"fraud-scorer\",\n    \"child_path\": \"/fraud-scorer\",\n    \"generation\": 0,\n    \"attempt\": 1,\n    \"status\": \"cancelling\",\n    \"operation\": \"quarantined\",\n    \"managed_child_state\": \"quarantined\",\n    \"stop_state\": \"cancel_delivered\",\n    \"failure\": null,\n    \"generation_fence_phase\": \"open\"\n  }\n}","language":"json","sources":[],"facts":[],"preview":{"summary":"quarantine_child fraud-scorer of payments. Cancels its attempt and keeps it from being restarted until somebody restarts it.","detail":"{\n  \"request_id\": \"<a new UUID>\",\n  \"method\": \"command.quarantine_child\",\n  \"params\": {\n    \"command_id\": \"<a new UUID>\",\n    \"target_id\": \"payments\",\n    \"command\": \"quarantine_child\",\n    \"target\": {\n      \"child_path\": \"/fraud-scorer\"\n    },\n    \"reason\": \"/supervisor quarantine fraud-scorer\",\n    \"requested_by\": \"opsbot:slack:U0ALICE\",\n    \"confirmed\": false,\n    \"requested_at_unix_nanos\": \"<now, in nanoseconds>\"\n  }\n}","language":"json"},"digest":"8a25f4f607e1","approved_by":"","decided_by":""}],"escalations":[{"number":1,"reason":"step 1: payments: quarantine_child was accepted, but not seen within 20 s: fraud-scorer: operation quarantined, attempt 1, status cancelling, stop_state cancel_delivered, phase open.","step":"1","opened_at":"2026-11-22T12:00:20Z","pages":1,"next_page_at":"2026-11-22T12:20:20Z","acknowledged_by":"","acknowledged_at":null}],"overdue":false,"finished_at":null,"ended_by":"","busy":null,"cancelling":"","given":{}}','2026-11-22T12:00:00.000000+00:00',0);
CREATE TABLE opsbot_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "opsbot_schema" VALUES(1);
CREATE TABLE opsbot_verifications (
	runbook VARCHAR(200) NOT NULL, 
	digest VARCHAR(16) NOT NULL, 
	verified_at VARCHAR(32) NOT NULL, 
	drifts INTEGER NOT NULL, 
	findings TEXT NOT NULL, 
	PRIMARY KEY (runbook)
);
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_input" VALUES('01M81J18G05P1P72VW0JHZZPV9','{"args": ["01M81J18G05P1P72VW0JHZZPV9"], "kwargs": {}}',1795347733000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO "workflow_status" VALUES('01M81J18G05P1P72VW0JHZZPV9','PENDING','opsbot.run',NULL,NULL,NULL,NULL,NULL,NULL,'opsbot',1795347733000,1795347733000,'engine-1','',NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'d4671199-5ebf-4503-970c-69b6960587b2',NULL,'opsbot_json',NULL,0,0,NULL,'null',NULL,NULL,0,'opsbot','d4671199-5ebf-4503-970c-69b6960587b2');
CREATE INDEX ix_opsbot_inbox_handled ON opsbot_inbox (handled);
CREATE INDEX ix_opsbot_runs_open ON opsbot_runs (open);
CREATE INDEX ix_opsbot_runs_next_due ON opsbot_runs (next_due);
CREATE INDEX ix_opsbot_outbox_run_id ON opsbot_outbox (run_id);
CREATE INDEX ix_opsbot_outbox_status ON opsbot_outbox (status);
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
COMMIT;