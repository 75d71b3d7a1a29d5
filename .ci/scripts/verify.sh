#!/usr/bin/env bash
# Proves that what is committed is what the sources say. Arguments: the files and folders that oxfmt
# formats.
set -euo pipefail
bin=node_modules/.bin

echo "== verify: generated code is current"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
cp -r buf.yaml buf.gen.yaml buf.gen.openapi.yaml proto third_party "$fresh/"
ln -s "$PWD/node_modules" "$PWD/package.json" "$PWD/.ci" "$fresh/"
here=$PWD
(
  cd "$fresh"
  "$here/$bin/tsx" "$here/.ci/scripts/print-validate-proto.ts"
  "$here/$bin/buf" generate
  "$here/$bin/buf" generate --template buf.gen.openapi.yaml
)
if ! diff -r third_party "$fresh/third_party" || ! diff -r gen "$fresh/gen"; then
  echo "gen/ or third_party/ is not what the contract gives: run make gen and commit it" >&2
  exit 1
fi

echo "== verify: contract (lint, format, breaking changes)"
"$bin/buf" lint
"$bin/buf" format --diff --exit-code proto
"$bin/buf" breaking proto --against proto/baseline.binpb

echo "== verify: format"
"$bin/oxfmt" --check "$@"

echo "== verify: nothing unused (knip)"
"$bin/knip" --no-progress
