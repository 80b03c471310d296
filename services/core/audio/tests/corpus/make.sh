#!/usr/bin/env bash
# Makes the corpus anew, with the encoders people use and sox as the judge of what each file sounds like.
# Needs (Debian): sox, flac, lame, vorbis-tools. Run in this folder; what comes out is committed, so tests need none of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Tones that glide through the telephone band under an envelope: every sample differs, nothing is above 3 kHz.
tone() { sox -R -n -r "$1" -c "$2" -b 16 "$work/$3.wav" synth 0.6 sine 300-2800 fade t 0.05 0.6 0.1 gain -14; }
golden() { sox -D -R "$1" -t raw -e signed -b 16 -c 1 -r 8000 "$2.s16" rate -v -s; }

tone 22050 1 flac
flac --silent --force --no-padding -o tone-22050.flac "$work/flac.wav"
golden "$work/flac.wav" tone-22050.flac

tone 44100 2 mp3
lame --quiet -b 64 --cbr "$work/mp3.wav" tone-44100-stereo.mp3
lame --quiet --decode tone-44100-stereo.mp3 "$work/mp3-back.wav"
golden "$work/mp3-back.wav" tone-44100-stereo.mp3

tone 48000 1 ogg
oggenc --quiet --serial 1 -q 4 -o tone-48000.ogg "$work/ogg.wav"
oggdec --quiet -o "$work/ogg-back.wav" tone-48000.ogg
golden "$work/ogg-back.wav" tone-48000.ogg

tone 16000 1 wav24
sox -D "$work/wav24.wav" -b 24 tone-16000-24.wav
golden tone-16000-24.wav tone-16000-24.wav

# Two hours of silence in a few kilobytes: a bomb.
head -c 115200000 /dev/zero |
  flac --silent --force --lax -b 65535 -l 0 --no-seektable --no-padding --force-raw-format --endian=little --sign=signed --channels=1 --bps=16 --sample-rate=8000 -o bomb-2h.flac -
