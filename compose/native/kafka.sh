#!/usr/bin/env bash
# Kafka's own tools against this stack's broker:
#
#   kafka.sh topics --list
#   kafka.sh consume --topic shop.sakila.customer --from-beginning --timeout-ms 5000
#   kafka.sh produce --topic hello
#   kafka.sh groups --list
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"
# shellcheck source=compose/native/services/kafka.sh
source "$here/services/kafka.sh"

is_running kafka || fail "kafka is down: compose/native/up.sh kafka"
case ${1:-} in
  topics) class=org.apache.kafka.tools.TopicCommand ;;
  consume) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
  produce) class=org.apache.kafka.tools.ConsoleProducer ;;
  groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
  *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
shift
kafka_java "$class" --bootstrap-server "$(address_of kafka)" "$@"
