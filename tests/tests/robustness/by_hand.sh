# usage: by_hand.sh REPOSITORY TARGET        restores the newest backup of a repository with one node in it
set -euo pipefail
repository=$1 target=$2
cd "$repository"
manifest=$(ls manifest/*/*/*.json.zst | tail -n 1)
node=$(dirname "${manifest#manifest/}")
zstd -dcq "$manifest" | jq -r '.tables[] | [.keyspace, .directory, .part // ""] | @tsv' |
while IFS=$'\t' read -r keyspace directory part; do
  mkdir -p "$target/$keyspace/$directory"
  [ -n "$part" ] || continue                         # an empty table
  zstd -dcq "part/$node/$keyspace/$directory/$part.json.zst" |
  jq -r '.sstables[] | select(.damaged | not) | . as $s | .files[]
         | [$s.index // ".", $s.sstable, .component, .object, .codec] | @tsv' |
  while IFS=$'\t' read -r index sstable component object codec; do
    file=$target/$keyspace/$directory/$index/$sstable-$component
    mkdir -p "$(dirname "$file")"
    case $codec in zstd) suffix=.zst ;; *) suffix= ;; esac
    case $object in
      *.tar) tar -xOf "$object" "$component$suffix" > "$file$suffix" ;;
      *) cp "$object" "$file$suffix" ;;
    esac
    [ -z "$suffix" ] || zstd -dq --rm "$file$suffix"
  done
done
