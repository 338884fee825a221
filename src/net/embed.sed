# ruleset.nft → a C string; comments and empty lines are left out
1i static const char ruleset_text[] =
/^[[:space:]]*#/d
/^[[:space:]]*$/d
s/["\\]/\\&/g
s/.*/	"&\\n"/
$a ;
