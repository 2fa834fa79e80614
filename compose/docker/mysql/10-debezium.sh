# shellcheck shell=bash
# Run once, by the image's entry point, when the volume is empty: the user with whom Debezium reads the binary log.
MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --user=root --protocol=socket <<SQL
CREATE USER '$DEBEZIUM_USER'@'%' IDENTIFIED BY '$DEBEZIUM_PASSWORD';
GRANT SELECT, RELOAD, LOCK TABLES, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '$DEBEZIUM_USER'@'%';
SQL
