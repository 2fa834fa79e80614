# shellcheck shell=bash
# Apicurio as the schema registry: Confluent's API at /apis/ccompat/v7, its own at /apis/registry. The schemas are kept
# in a topic of Kafka, hence survive a restart.

registry_fetch() {
  local name=apicurio-$APICURIO_VERSION
  local dir=$CACHE/$name artifact=io.apicurio:apicurio-registry-app:$APICURIO_VERSION:tar.gz:all
  if ! is_fetched "$dir" "$artifact"; then
    need_java
    need_packages mvn=maven curl=curl
    lock_cache
    is_fetched "$dir" "$artifact" && unlock_cache && return
    say "downloading $name: $artifact"
    rm -rf "$dir.part"
    mkdir -p "$dir.part"
    run_maven "$name" "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_COPY_PLUGIN_VERSION:copy" \
      "-Dartifact=$artifact" "-DoutputDirectory=$dir.part"
    verify_files "$name" "$dir.part"
    tar xzf "$dir.part"/*.tar.gz -C "$dir.part"
    rm "$dir.part"/*.tar.gz
    finish_fetch "$dir" "$artifact"
  fi
  need_java
}

registry_start() {
  local jar
  jar=$(find "$CACHE/apicurio-$APICURIO_VERSION" -maxdepth 1 -name '*-runner.jar' -o -maxdepth 1 -name quarkus-run.jar)
  launch registry "$RUN" java -Xmx"${REGISTRY_MEMORY:-384m}" "${JAVA_OPTIONS[@]}" \
    "-Dquarkus.http.host=$HOST" "-Dquarkus.http.port=$REGISTRY_PORT" -Dapicurio.storage.kind=kafkasql \
    "-Dapicurio.kafkasql.bootstrap.servers=$HOST:$KAFKA_PORT" -jar "$jar"
}

registry_answers() { answers_http "http://$HOST:$REGISTRY_PORT/apis/ccompat/v7/subjects"; }
