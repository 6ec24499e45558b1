/// What names may look like. Each rule answers with what is wrong, in the words that users know; empty means good.
package enum NameRules {
  /// RFC 1123, dots allowed: the names of most objects.
  package static func dnsSubdomain(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 253 { messages.append(tooLong(253)) }
    if !Pattern.isDNSSubdomain(value.utf8) {
      messages.append(
        pattern(
          """
          a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
          and end with an alphanumeric character
          """, #"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"#, "example.com"))
    }
    return messages
  }

  /// RFC 1123, no dots: namespaces, containers, volumes.
  package static func dnsLabel(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 63 { messages.append(tooLong(63)) }
    if !Pattern.isDNSLabel(value.utf8) {
      messages.append(
        pattern(
          """
          a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
          with an alphanumeric character
          """, "[a-z0-9]([-a-z0-9]*[a-z0-9])?", "my-name", "123-abc"))
    }
    return messages
  }

  /// RFC 1035: begins with a letter, as the names of services once had to.
  package static func dnsLabel1035(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 63 { messages.append(tooLong(63)) }
    if !Pattern.isDNSLabel(value.utf8) || value.utf8.first.map(Pattern.isDigit) == true {
      messages.append(
        pattern(
          """
          a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
          character, and end with an alphanumeric character
          """, "[a-z]([-a-z0-9]*[a-z0-9])?", "my-name", "abc-123"))
    }
    return messages
  }

  /// A name with an optional DNS prefix: label keys, annotation keys, resource names, finalizers.
  package static func qualifiedName(_ value: String) -> [String] {
    let rule = pattern(
      """
      must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character
      """, "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", "MyName", "my.name", "123-abc")
    let parts = value.split(separator: "/", omittingEmptySubsequences: false)
    var messages: [String] = []
    if parts.count > 2 {
      return ["a qualified name \(rule) with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    }
    if parts.count == 2 {
      let prefix = String(parts[0])
      messages += prefix.isEmpty ? ["prefix part must be non-empty"] : dnsSubdomain(prefix).map { "prefix part \($0)" }
    }
    let name = parts[parts.count - 1]
    if name.isEmpty {
      messages.append("name part must be non-empty")
    } else if name.utf8.count > 63 {
      messages.append("name part \(tooLong(63))")
    }
    if !Pattern.isName(name.utf8) { messages.append("name part \(rule)") }
    return messages
  }

  /// At most 63 characters, or nothing at all.
  package static func labelValue(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 63 { messages.append(tooLong(63)) }
    if !value.isEmpty, !Pattern.isName(value.utf8) {
      messages.append(
        pattern(
          """
          a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
          and end with an alphanumeric character
          """, "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", "MyValue", "my_value", "12345"))
    }
    return messages
  }

  static func tooLong(_ charactersMax: Int) -> String { "must be no more than \(charactersMax) bytes" }
  static func range(_ low: Int64, _ high: Int64) -> String { "must be between \(low) and \(high), inclusive" }

  /// A rule, examples that keep it, and its regular expression, put together as users know it.
  static func pattern(_ rule: String, _ regex: String, _ examples: String...) -> String {
    if examples.isEmpty { return "\(rule) (regex used for validation is '\(regex)')" }
    let shown = examples.map { "'\($0)', " }.joined(separator: " or ")
    return "\(rule) (e.g. \(shown)regex used for validation is '\(regex)')"
  }
}
