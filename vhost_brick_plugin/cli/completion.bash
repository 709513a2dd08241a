# SPDX-License-Identifier: Apache-2.0
# Completion of vhost-brick in bash: "vhost-brick complete" puts the tables in.
_vhost_brick()
{
	# What may follow: words and options after a command, choices after an option that takes a
	# value (none: it takes any), and what lists the names of what either wants.
	# TABLES
	local cur prev words cword
	_get_comp_words_by_ref -n : cur prev words cword

	local at="" key i
	for ((i = 1; i < cword; i++)); do
		key=/${at:+$at }${words[i]}
		if [[ -n ${choices[$key]+x} ]]; then
			((++i))
		elif [[ " ${commands[/$at]-} " == *" ${words[i]} "* ]]; then
			at=${key#/}
		fi
	done
	key=/${at:+$at }$prev
	[[ -n ${choices[$key]+x} ]] || key=/$at

	local found=${choices[$key]-}${commands[$key]-}
	if [[ $key == "/$at" && $cur == -* ]]; then
		found=${options[$key]-}
	elif [[ -n ${lists[$key]-} ]]; then
		found=$(${lists[$key]} 2>/dev/null)
	fi
	if [[ -n $found ]]; then
		# In single quotes: what others have named is not for this shell to expand.
		mapfile -t COMPREPLY < <(compgen -W '$found' -- "$cur")
		__ltrim_colon_completions "$cur"
	else
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _vhost_brick vhost-brick
