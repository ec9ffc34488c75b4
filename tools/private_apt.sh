# shellcheck shell=bash
# Sourced by tools/setup and tools/images: reading tools/packages.txt, and a private apt. The private apt has its own
# sources, lists and cache in a scratch folder and downloads from the Debian mirror that this system already uses, so
# it needs no root and leaves the system's packages, sources and architectures alone. Archives are verified against
# Debian's keyring.

die() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 2
}

say() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# packages_in SECTION: the names in that section of tools/packages.txt, one a line.
packages_in() {
  sed -n "/^\[$1\]/,/^\[/{/^\[/d;s/#.*//;s/[[:space:]]*\$//;/./p}" "$(dirname "${BASH_SOURCE[0]}")/packages.txt"
}

# The Debian mirror among this system's apt sources (not the security archive). Arguments go to apt-get.
debian_mirror() {
  # shellcheck disable=SC2016 # the $(...) are for apt-get
  apt-get "$@" indextargets --format '$(ORIGIN)|$(RELEASE)|$(SITE)' 'Created-By: Packages' 2>/dev/null |
    awk -F'|' '$1 == "Debian" && $2 !~ /security/ { print $3; exit }'
}

# private_apt_open FOLDER ARCHITECTURES SUITE: makes the private apt in FOLDER and fetches the suite's lists.
private_apt_open() {
  local folder=$1 architectures=$2 suite=$3
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -r $keyring ]] || die "Debian's keyring is missing" "apt-get install debian-archive-keyring"
  mkdir -p "$folder"/{lists/partial,cache/archives/partial,empty}
  : >"$folder/status"

  local mirror
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    # No lists on this system (as in a fresh container): fetch them, but into our own folder.
    local private_lists=(-o "Dir::State::Lists=$folder/lists" -o Debug::NoLocking=1 -o Acquire::Languages=none)
    apt-get "${private_lists[@]}" -qq update >"$folder/log" 2>&1 || true
    mirror=$(debian_mirror "${private_lists[@]}")
  fi
  [[ -n $mirror ]] || die "no Debian mirror among this system's apt sources, or it could not be reached" \
    "see the sources with: apt-cache policy" "and try: apt-get update"
  printf 'deb [arch=%s signed-by=%s] %s %s main\n' "$architectures" "$keyring" "$mirror" "$suite" \
    >"$folder/sources.list"

  cat >"$folder/apt.conf" <<END
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$folder/empty";
Dir::State::Lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
#clear APT::Architectures;
APT::Architectures "$architectures";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "1";
END
  private_apt_folder=$folder
  # Its exit code also tells of sources that do not matter here: what counts is whether the packages are found.
  apt-get -c "$folder/apt.conf" -qq update >"$folder/log" 2>&1 || true
}

# private_apt_depends PACKAGE[:ARCH] PATTERN: the newest of PACKAGE's dependencies whose name matches PATTERN.
private_apt_depends() {
  apt-cache -c "$private_apt_folder/apt.conf" depends "$1" 2>/dev/null |
    awk -v pattern="$2" '$1 == "Depends:" && $2 ~ pattern { print $2 }' | sort -V | tail -1
}

# private_apt_versions PACKAGE: the versions on offer, newest first.
private_apt_versions() {
  apt-cache -c "$private_apt_folder/apt.conf" madison "$1" 2>/dev/null | awk -F'|' '{ gsub(/ /, "", $2); print $2 }'
}

# private_apt_download FOLDER PACKAGE[:ARCH][=VERSION]...: the .deb files, verified, into FOLDER.
private_apt_download() {
  local into=$1
  shift
  mkdir -p "$into"
  if ! (cd "$into" && apt-get -c "$private_apt_folder/apt.conf" -qq download "$@") >"$private_apt_folder/log" 2>&1; then
    sed 's/^/  /' "$private_apt_folder/log" >&2
    die "could not download: $*" "is the Debian mirror reachable? try: apt-get update"
  fi
}
