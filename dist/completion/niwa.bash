# bash completion for niwa; made by `niwa help --completion`, do not edit
# shellcheck shell=bash disable=SC2207

_niwa_names() {
	COMPREPLY=($(compgen -W "$(niwa "$@" "$cur*" 2>/dev/null)" -- "$cur"))
}

_niwa() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb="" options="" word
	local global="--socket --json --quiet --version --help"
	local verbs="apply ls show wake freeze stop restart set logs exec rm top import image snapshot doctor status version help"
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [[ $word != -* && " $verbs " == *" $word "* ]]; then
			verb=$word
			break
		fi
	done
	COMPREPLY=()
	case $verb in
	apply)
		options="$global --dry-run"
		if [[ $cur != -* ]]; then COMPREPLY=($(compgen -f -- "$cur")); fi
		;;
	ls)
		options="$global --state --tenant --label --name"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	show)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	wake)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	freeze)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	stop)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	restart)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	set)
		options="$global"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	logs)
		options="$global --follow --lines"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	exec)
		options="$global --terminal --no-terminal"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	rm)
		options="$global --yes --tenant --label"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	top)
		options="$global --once --sort --delay --tenants --tenant --state --limit"
		if [[ $cur != -* ]]; then :; fi
		;;
	import)
		options="$global --tenant --output --force"
		if [[ $cur != -* ]]; then COMPREPLY=($(compgen -f -- "$cur")); fi
		;;
	image)
		options="$global --force --replace --config"
		if [[ $cur != -* ]]; then COMPREPLY=($(compgen -W "ls import rm prepare $(niwa image ls -q 2>/dev/null)" -- "$cur")); fi
		;;
	snapshot)
		options="$global --all"
		if [[ $cur != -* ]]; then _niwa_names ls -q; fi
		;;
	doctor)
		options="$global --all --config"
		if [[ $cur != -* ]]; then :; fi
		;;
	status)
		options="$global"
		if [[ $cur != -* ]]; then :; fi
		;;
	version)
		options="$global"
		if [[ $cur != -* ]]; then :; fi
		;;
	help)
		options="$global --completion --man"
		if [[ $cur != -* ]]; then COMPREPLY=($(compgen -W "$verbs" -- "$cur")); fi
		;;
	*)
		options=$global
		if [[ $cur != -* ]]; then COMPREPLY=($(compgen -W "$verbs" -- "$cur")); fi
		;;
	esac
	if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$cur")); fi
}
complete -F _niwa niwa
