#!/usr/bin/env bash
# Build the images with docker, podman or buildah, whichever works here. What follows on the command line goes to the
# build, for example --build-arg BASE=my.registry/python:3.11-slim.
#
#   IMAGES     some of: train engine engine-cpu engine-wrapped hub      all
#   REGISTRY   put before the name, for example ghcr.io/me              none
#   TAG        tag                                                      the version of promethios
#   PUSH       1: push as well                                          0
#   BUILDER    docker, podman or buildah                                the first that works
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
tag=${TAG:-$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

first_that_works() {
    local tool
    for tool in docker podman buildah; do
        # docker's client is often installed where no daemon runs
        "$tool" info >/dev/null 2>&1 && { echo "$tool"; return; }
    done
    echo "error: no docker, podman or buildah works here; install one of them, or name one in BUILDER" >&2
    exit 2
}
builder=${BUILDER:-$(first_that_works)}

for name in ${IMAGES:-train engine engine-cpu engine-wrapped hub}; do
    options=()
    case $name in
        engine-cpu) recipe=engine options=(--build-arg REQUIREMENTS=serve-cpu.txt --build-arg PACKAGES=libnuma1) ;;
        engine-wrapped) recipe=engine options=(--build-arg REQUIREMENTS=serve-wrapped.txt --build-arg PACKAGES=) ;;
        train | engine | hub) recipe=$name ;;
        *) echo "error: IMAGES: $name is none of train, engine, engine-cpu, engine-wrapped and hub" >&2; exit 2 ;;
    esac
    image=${REGISTRY:+$REGISTRY/}promethios/$name:$tag
    "$builder" build --file "images/$recipe/Dockerfile" --tag "$image" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" ${options[@]+"${options[@]}"} "$@" .
    [ "${PUSH:-0}" = 0 ] || "$builder" push "$image"
    echo "$image"
done
