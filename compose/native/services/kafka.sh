# shellcheck shell=bash
# Kafka in KRaft mode: broker and controller in one process.

JAVA_OPTIONS=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true "-Djava.io.tmpdir=$RUN/tmp")
KAFKA_JARS=$CACHE/kafka

kafka_fetch() {
  fetch_jars kafka \
    org.apache.kafka:{kafka_2.13,kafka-server,kafka-tools,connect-runtime,connect-json,connect-transforms}:"$KAFKA_VERSION" \
    "org.apache.logging.log4j:log4j-slf4j-impl:$LOG4J_VERSION"
  need_java
}

# Runs a class of Kafka's, for the services and for kafka.sh.
kafka_java() { java "${JAVA_OPTIONS[@]}" "-Dlog4j2.configurationFile=$RUN/log4j2.properties" -cp "$KAFKA_JARS/*" "$@"; }

write_log4j() {
  cat >"$RUN/log4j2.properties" <<END
rootLogger.level=WARN
rootLogger.appenderRefs=console
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c{1})%n
END
}

# With KAFKA_TLS=FOLDER there is a second listener, for TLS and SCRAM, with the key and certificate of FOLDER/server.pem. Its users are
# lines `name password` in FOLDER/users. Both are looked at when the storage is made.
tls_listener() {
  listeners=PLAINTEXT://$HOST:$KAFKA_PORT advertised=$listeners
  users=()
  [[ -n ${KAFKA_TLS:-} ]] || return 0
  listeners+=,SASL_SSL://$HOST:$KAFKA_TLS_PORT
  advertised=$listeners
  local name password
  while read -r name password; do
    users+=(--add-scram "SCRAM-SHA-512=[name=$name,password=$password]")
  done <"$KAFKA_TLS/users"
}

kafka_start() {
  write_log4j
  tls_listener
  cat >"$RUN/kafka.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$HOST:$KAFKA_CONTROLLER_PORT
listeners=$listeners,CONTROLLER://$HOST:$KAFKA_CONTROLLER_PORT
advertised.listeners=$advertised
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
${KAFKA_TLS:+ssl.keystore.location=$KAFKA_TLS/server.pem}
log.dirs=$STACK/kafka
num.partitions=4
# One broker: every internal topic has one replica.
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# Records of 5 MB are among the tests.
message.max.bytes=16777216
END
  if [[ ! -e $STACK/kafka/meta.properties ]]; then
    local id
    # 16 bytes in base64 for URLs; a dash at the beginning would be taken for an option, hence none at all.
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '_A' | cut -c 1-22)
    kafka_java kafka.tools.StorageTool format -t "$id" -c "$RUN/kafka.properties" "${users[@]}" >"$LOGS/kafka-format.log" 2>&1 ||
      fail "Kafka's storage could not be formatted; the log is $LOGS/kafka-format.log"
  fi
  launch kafka "$RUN" java -Xms256m -Xmx"${KAFKA_MEMORY:-512m}" "${JAVA_OPTIONS[@]}" \
    "-Dlog4j2.configurationFile=$RUN/log4j2.properties" -cp "$KAFKA_JARS/*" kafka.Kafka "$RUN/kafka.properties"
}

# The broker opens its port when it serves.
kafka_answers() { is_listening "$KAFKA_PORT"; }
