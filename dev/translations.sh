#!/bin/sh
# translations.sh BIN: collect the strings of app/ for the translators, and compile the catalogues.
# Without places and dates, so that a change of the file is a change of words.
set -eu
babel=$1/pybabel
catalogues=app/translations
template=$(mktemp)
trap 'rm -f "$template"' EXIT
"$babel" --quiet extract -F "$catalogues/babel.cfg" -k _l -k lazy_gettext -k lazy_ngettext:1,2 -k lazy_pgettext:1c,2 \
    --no-location --sort-output -o "$template" app
"$babel" --quiet update --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap \
    -i "$template" -d "$catalogues"
"$babel" --quiet compile -d "$catalogues"
