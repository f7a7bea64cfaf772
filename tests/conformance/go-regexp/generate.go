// Prints a table of random regular expressions and what Go's regexp package says of them, one JSON
// array per line: [pattern, null] for one that Go refuses, else [pattern, the texts it matches].
//
//	go run generate.go > table.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"regexp"
	"strings"
)

var pieces = strings.Split(`a|b|ab|-|.|^|$|\d|\w|\s|\D|\W|\b|\B|\z|\A|\n|\t|\x41|\x{62}|\141|\07|\0|\1|\Z|\C|\h|\_|\-|\.|\<|\pL|\PL|\p{Greek}|\p{^L}|\p{Lu}|\p{Nope}|`+
	`[a-c]|[^a]|[\w-.]|[+--]|[a-]|[]a]|[^]a]|[[:alpha:]]|[[:^digit:]]|[[:foo:]]|[a-z--b]|[z-a]|[\d-a]|[&&~~]|[[a]|[\pL1]|[\x41-\x43]|[\b]|`+
	`(a)|(?:ab)|(?i)|(?i:aB)|(?-i:c)|(?s:.)|(?m:^b$)|(?U)|(?P<n>a)|(?<n>b)|(?x)|(?=a)|(?!b)|(?#c)|(?:|(|)|\Qa.b\E|\Q|\E|{|}|{2}|{1,2}|{2,}|{,2}|{0}|{1001}|{3,2}|*|+|?|*?|+?|??|{2}?`, "|")

var texts = []string{"", "a", "b", "ab", "A", "AB", "a-b", "a.b", "1", "_", " ", "\n", "aa", "aab", "é", "αβ", "a\nb", "]", "{2}", "-", "~&", "\a", "c", "abab"}

func main() {
	random := rand.New(rand.NewSource(1))
	for i := 0; i < 6000; i++ {
		var pattern strings.Builder
		for n := 1 + random.Intn(5); n > 0; n-- {
			if random.Intn(12) == 0 {
				pattern.WriteString("|")
			}
			pattern.WriteString(pieces[random.Intn(len(pieces))])
		}
		row := []any{pattern.String(), nil}
		if compiled, err := regexp.Compile("^(?:" + pattern.String() + ")$"); err == nil {
			matched := []string{}
			for _, text := range texts {
				if compiled.MatchString(text) {
					matched = append(matched, text)
				}
			}
			row[1] = matched
		}
		line, _ := json.Marshal(row)
		fmt.Println(string(line))
	}
}
