-- Awkward data for MariaDB: run by the mariadb client as root.
SET NAMES utf8mb4;
CREATE DATABASE appdb CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE DATABASE `odd ``name' "x"` CHARACTER SET latin1;
CREATE DATABASE `--leading $(dash) ✓`;
USE appdb;
CREATE TABLE tenants (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(200) NOT NULL, UNIQUE KEY (name));
CREATE TABLE things (
  id BIGINT PRIMARY KEY AUTO_INCREMENT, tenant INT NOT NULL, name TEXT, raw BLOB, doc JSON, price DECIMAL(20,6),
  twice BIGINT AS (id * 2) VIRTUAL, half DECIMAL(20,6) AS (price / 2) STORED, at DATETIME(6) DEFAULT '2024-02-29 12:00:00.123456',
  FOREIGN KEY (tenant) REFERENCES tenants (id) ON DELETE CASCADE, FULLTEXT KEY (name)) ENGINE=InnoDB;
INSERT INTO tenants (name) VALUES ('first'), ('second ''quoted'''), ('dritter ✓ 😀');
INSERT INTO things (tenant, name, raw, doc, price)
  SELECT 1 + seq % 3, CONCAT('thing ', seq, ' 😀 \\ '' "'), UNHEX(MD5(seq)), JSON_OBJECT('n', seq, 'é', NULL), seq / 7 FROM seq_1_to_5000;
INSERT INTO things (tenant, raw) VALUES (1, UNHEX('00010203090A0D1A225C27FF'));
CREATE TABLE `empty ``table` (a INT CHECK (a > 0), b ENUM('x', 'y') DEFAULT 'x');
CREATE TABLE parts (day DATE NOT NULL, v INT) PARTITION BY RANGE (YEAR(day)) (PARTITION p24 VALUES LESS THAN (2025), PARTITION rest VALUES LESS THAN MAXVALUE);
INSERT INTO parts SELECT '2024-06-01' + INTERVAL seq DAY, seq FROM seq_1_to_400;
CREATE SEQUENCE numbers START WITH 42 INCREMENT BY 7;
SELECT NEXTVAL(numbers), NEXTVAL(numbers);
CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT);
DELIMITER //
CREATE TRIGGER things_log AFTER DELETE ON things FOR EACH ROW BEGIN INSERT INTO log (what) VALUES (CONCAT('deleted ', OLD.id, '; //')); END//
CREATE PROCEDURE add_tenant(IN n VARCHAR(200)) COMMENT 'adds; one' BEGIN INSERT INTO tenants (name) VALUES (n); END//
CREATE FUNCTION double_it(n INT) RETURNS INT DETERMINISTIC RETURN n * 2//
DELIMITER ;
CREATE EVENT purge_log ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01' COMMENT 'never yet' DO DELETE FROM log;
CREATE VIEW cheap AS SELECT id, name FROM things WHERE price < 10;
USE `odd ``name' "x"`;
CREATE TABLE `select` (`from` INT);
INSERT INTO `select` VALUES (1), (2), (3);
CREATE USER 'tenant owner'@'%' IDENTIFIED BY 'owner''s "secret" $1';
CREATE USER reader@'10.%' IDENTIFIED BY 'x' REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 100;
CREATE USER locked@localhost IDENTIFIED BY 'y' ACCOUNT LOCK;
CREATE ROLE readers;
CREATE ROLE writers;
GRANT SELECT ON appdb.* TO readers;
GRANT readers TO writers;
GRANT INSERT (name), SELECT ON appdb.things TO writers;
GRANT writers TO 'tenant owner'@'%';
SET DEFAULT ROLE writers FOR 'tenant owner'@'%';
GRANT ALL ON `odd ``name' "x"`.* TO 'tenant owner'@'%';
GRANT EXECUTE ON PROCEDURE appdb.add_tenant TO reader@'10.%';
