// Writes the data that converters are about as the engine carries it: patterns of grok, expressions for user agents, names
// of months and days. Each comes from the module that the Collector's pkg/ottl v0.161 takes it from. See
// scripts/ottl-outcomes.
package main

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/go-grok/patterns"
	"github.com/elastic/lunes"
	"github.com/ua-parser/uap-go/uaparser"
	"gopkg.in/yaml.v3"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	switch {
	case len(os.Args) == 2 && os.Args[1] == "grok":
		grok(out)
	case len(os.Args) == 2 && os.Args[1] == "user-agents":
		userAgents(out)
	case len(os.Args) == 3 && os.Args[1] == "locales":
		locales(out, os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: data grok | user-agents | locales TABLES_GO")
		os.Exit(2)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A name and its pattern in each line.
func grok(out *bufio.Writer) {
	all := maps.Clone(patterns.Default)
	for _, more := range []map[string]string{
		patterns.AWS, patterns.Bind9, patterns.Bro, patterns.Exim, patterns.HAProxy, patterns.Httpd, patterns.Firewalls,
		patterns.Java, patterns.Junos, patterns.Maven, patterns.MCollective, patterns.MongoDB, patterns.PostgreSQL,
		patterns.Rails, patterns.Redis, patterns.Ruby, patterns.Squid, patterns.Syslog,
	} {
		maps.Copy(all, more)
	}
	fmt.Fprint(out, `# Patterns of grok: a name and an expression in each line. From github.com/elastic/go-grok v0.3.1, Copyright Elasticsearch
# B.V., licensed under the Apache License, Version 2.0; its patterns are those of logstash-patterns-core under the same
# licence, rewritten for RE2. Written by scripts/ottl-outcomes.
`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.ContainsAny(all[name], "\n\t") {
			check(fmt.Errorf("%s has a line feed or a tab", name))
		}
		fmt.Fprintf(out, "%s\t%s\n", name, all[name])
	}
}

type expression struct {
	Regex  string `yaml:"regex"`
	Flag   string `yaml:"regex_flag"`
	Family string `yaml:"family_replacement"`
	V1     string `yaml:"v1_replacement"`
	V2     string `yaml:"v2_replacement"`
	V3     string `yaml:"v3_replacement"`
	OS     string `yaml:"os_replacement"`
	OSV1   string `yaml:"os_v1_replacement"`
	OSV2   string `yaml:"os_v2_replacement"`
	OSV3   string `yaml:"os_v3_replacement"`
	OSV4   string `yaml:"os_v4_replacement"`
}

// What is told apart, flags, expression, and what its groups become, in each line.
func userAgents(out *bufio.Writer) {
	var all struct {
		UserAgents []expression `yaml:"user_agent_parsers"`
		Systems    []expression `yaml:"os_parsers"`
	}
	check(yaml.Unmarshal(uaparser.DefinitionYaml, &all))
	fmt.Fprint(out, `# Expressions that tell user agents and their systems: "agent" or "system", flags, the expression, and what becomes of its
# groups, apart by tabs. From github.com/ua-parser/uap-core, licensed under the Apache License, Version 2.0, as
# github.com/ua-parser/uap-go db9adb27a0b8 carries it (Copyright 2013 Yihuan Zhou, MIT). Written by scripts/ottl-outcomes.
`)
	line := func(fields ...string) {
		for _, field := range fields {
			if strings.ContainsAny(field, "\n\t") {
				check(fmt.Errorf("%q has a line feed or a tab", field))
			}
		}
		fmt.Fprintln(out, strings.TrimRight(strings.Join(fields, "\t"), "\t"))
	}
	for _, it := range all.UserAgents {
		line("agent", it.Flag, it.Regex, it.Family, it.V1, it.V2, it.V3)
	}
	for _, it := range all.Systems {
		line("system", it.Flag, it.Regex, it.OS, it.OSV1, it.OSV2, it.OSV3, it.OSV4)
	}
}

// The tags of locales with the same names, and those names: short and long days, short and long months, halves of the day.
func locales(out *bufio.Writer, tables string) {
	source, err := os.ReadFile(tables)
	check(err)
	fmt.Fprint(out, `# Names of days, months and halves of the day by language: the tags of locales, short days, long days, short months, long
# months, halves, apart by tabs; names apart by bars. From the Unicode Common Locale Data Repository, version 48, licensed
# under the Unicode License v3, as github.com/elastic/lunes v0.2.2 carries it (Copyright Elasticsearch B.V., Apache License,
# Version 2.0). Written by scripts/ottl-outcomes.
`)
	tags := map[string][]string{}
	for _, match := range regexp.MustCompile(`(?m)^\s*Locale\w+\s*=\s*"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		tag := match[1]
		locale, err := lunes.NewDefaultLocale(tag)
		check(err)
		lists := [][]string{
			locale.ShortDayNames(), locale.LongDayNames(), locale.ShortMonthNames(), locale.LongMonthNames(), locale.DayPeriods(),
		}
		var fields []string
		for _, list := range lists {
			field := strings.Join(list, "|")
			if strings.ContainsAny(field, "\t\n") || strings.Count(field, "|") != max(len(list)-1, 0) {
				check(fmt.Errorf("%s: %q", tag, list))
			}
			fields = append(fields, field)
		}
		names := strings.Join(fields, "\t")
		tags[names] = append(tags[names], tag)
	}
	lines := []string{}
	for names, tags := range tags {
		lines = append(lines, strings.Join(tags, " ")+"\t"+names)
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
}
