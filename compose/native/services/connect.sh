# shellcheck shell=bash
# Kafka Connect (distributed, one worker) with Debezium's connectors and Apicurio's Avro converter.

CONNECT_PLUGINS=$CACHE/plugins

connect_fetch() {
  kafka_fetch
  # The worker's own class path has these already.
  local own=kafka-clients,connect-api,connect-json,slf4j-api,lz4-java,snappy-java
  fetch_jars plugins/debezium-mysql -x $own "io.debezium:debezium-connector-mysql:$DEBEZIUM_VERSION"
  fetch_jars plugins/debezium-postgres -x $own "io.debezium:debezium-connector-postgres:$DEBEZIUM_VERSION"
  fetch_jars plugins/debezium-mariadb -x $own "io.debezium:debezium-connector-mariadb:$DEBEZIUM_MARIADB_VERSION"
  fetch_jars plugins/apicurio -x $own "io.apicurio:apicurio-registry-utils-converter:$APICURIO_CONVERTER_VERSION"
  write_manifests
  need_packages curl=curl
}

# Apicurio's converter has no service manifest. Writing it once lets Connect find its plugins by manifests alone, and
# start in 4 s instead of 18 s.
write_manifests() {
  local key="$DEBEZIUM_VERSION $DEBEZIUM_MARIADB_VERSION $APICURIO_CONVERTER_VERSION"
  [[ -e $CONNECT_PLUGINS/.manifests && $(<"$CONNECT_PLUGINS/.manifests") == "$key" ]] && return
  lock_cache
  write_log4j
  kafka_java org.apache.kafka.tools.ConnectPluginPath sync-manifests --plugin-path "$CONNECT_PLUGINS" \
    >"$LOGS/connect-manifests.log" 2>&1 ||
    fail "the plugins' manifests could not be written; the log is $LOGS/connect-manifests.log"
  echo "$key" >"$CONNECT_PLUGINS/.manifests"
  unlock_cache
  say "wrote the manifests of Connect's plugins"
}

connect_start() {
  write_log4j
  cat >"$RUN/connect.properties" <<END
bootstrap.servers=$HOST:$KAFKA_PORT
group.id=connect
listeners=http://$HOST:$CONNECT_PORT
plugin.path=$CONNECT_PLUGINS
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=_connect_configs
config.storage.replication.factor=1
offset.storage.topic=_connect_offsets
offset.storage.partitions=1
offset.storage.replication.factor=1
offset.flush.interval.ms=2000
status.storage.topic=_connect_status
status.storage.partitions=1
status.storage.replication.factor=1
# A worker that comes back gets its connectors at once.
scheduled.rebalance.max.delay.ms=0
# Large rows, as the broker allows them.
producer.max.request.size=16777216
END
  launch connect "$RUN" java -Xms256m -Xmx"${CONNECT_MEMORY:-1g}" "${JAVA_OPTIONS[@]}" \
    "-Dlog4j2.configurationFile=$RUN/log4j2.properties" -cp "$KAFKA_JARS/*" \
    org.apache.kafka.connect.cli.ConnectDistributed "$RUN/connect.properties"
}

connect_answers() { answers_http "http://$HOST:$CONNECT_PORT/connectors"; }
