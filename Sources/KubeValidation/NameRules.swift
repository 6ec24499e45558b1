/// What names may look like. Each rule answers with what is wrong, in the words that users know; empty means good.
package enum NameRules {
  /// RFC 1123, dots allowed: the names of most objects.
  package static func dnsSubdomain(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 253 { messages.append(tooLong(253, "characters")) }
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
    if value.utf8.count > 63 { messages.append(tooLong(63, "characters")) }
    if !Pattern.isDNSLabel(value.utf8), Pattern.isDNSSubdomain(value.utf8) {
      messages.append("must not contain dots")
    } else if !Pattern.isDNSLabel(value.utf8) {
      messages.append(
        pattern(
          """
          a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
          with an alphanumeric character
          """, "[a-z0-9]([-a-z0-9]*[a-z0-9])?", "my-name", "123-abc"))
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
      return ["a valid label key \(rule) with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    }
    if parts.count == 2 {
      let prefix = String(parts[0])
      messages += prefix.isEmpty ? ["prefix part must be non-empty"] : dnsSubdomain(prefix).map { "prefix part \($0)" }
    }
    let name = parts[parts.count - 1]
    if name.isEmpty {
      messages.append("name part must be non-empty")
    } else if name.utf8.count > 63 {
      messages.append("name part \(tooLong(63, "bytes"))")
    }
    if !Pattern.isName(name.utf8) { messages.append("name part \(rule)") }
    return messages
  }

  /// At most 63 characters, or nothing at all.
  package static func labelValue(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 63 { messages.append(tooLong(63, "bytes")) }
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

  /// Whatever can stand in a path: roles and their bindings.
  package static func pathSegment(_ value: String) -> [String] {
    if value == "." || value == ".." { return ["may not be '\(value)'"] }
    return ["/", "%"].filter { value.contains($0) }.map { "may not contain '\($0)'" }
  }

  /// RFC 1035: what names a kind or a version.
  static func dns1035Label(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 63 { messages.append(tooLong(63, "characters")) }
    guard let first = value.utf8.first, Pattern.isLower(first), Pattern.isDNSLabel(value.utf8) else {
      return messages + [
        pattern(
          """
          a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
          character, and end with an alphanumeric character
          """, "[a-z]([-a-z0-9]*[a-z0-9])?", "my-name", "abc-123")
      ]
    }
    return messages
  }

  // MARK: names of smaller things

  /// IANA service names: the names of a container's ports.
  static func portName(_ value: String) -> [String] {
    var messages: [String] = []
    let bytes = value.utf8
    if bytes.count > 15 { messages.append(tooLong(15, "characters")) }
    if bytes.isEmpty || !bytes.allSatisfy(Pattern.isLowerOrDigitOrHyphen) {
      messages.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    }
    if !bytes.contains(where: Pattern.isLower) { messages.append("must contain at least one letter (a-z)") }
    if value.contains("--") { messages.append("must not contain consecutive hyphens") }
    if value.hasPrefix("-") || value.hasSuffix("-") { messages.append("must not begin or end with a hyphen") }
    return messages
  }

  static func portNumber(_ value: Int64) -> [String] { (1...65535).contains(value) ? [] : [range(1, 65535)] }

  static func userOrGroup(_ id: Int64) -> [String] {
    (0...Int64(Int32.max)).contains(id) ? [] : [range(0, Int64(Int32.max))]
  }

  /// Keys of ConfigMaps and Secrets, which become the names of files.
  static func configKey(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 253 { messages.append(tooLong(253, "characters")) }
    if value.isEmpty || !value.utf8.allSatisfy(Pattern.isNameByte) {
      messages.append(
        pattern(
          "a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+", "key.name",
          "KEY_NAME", "key-name"))
    }
    if value == "." || value == ".." {
      messages.append("must not be '\(value)'")
    } else if value.hasPrefix("..") {
      messages.append("must not start with '..'")
    }
    return messages
  }

  static func environmentName(_ value: String) -> [String] {
    if value.isEmpty { return ["environment variable name must be non-empty"] }
    if value.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "=") }) { return [] }
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
  }

  static func httpHeader(_ value: String) -> [String] {
    if !value.isEmpty, value.utf8.allSatisfy({ Pattern.isAlphanumeric($0) || $0 == UInt8(ascii: "-") }) { return [] }
    return [
      pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name")
    ]
  }

  static func percent(_ value: String) -> [String] {
    if value.utf8.count > 1, value.hasSuffix("%"), value.utf8.dropLast().allSatisfy(Pattern.isDigit) { return [] }
    return [
      pattern(
        "a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", "1%", "93%")
    ]
  }

  /// Search domains, which may have labels that begin with an underscore.
  static func dnsSubdomainWithUnderscore(_ value: String) -> [String] {
    var messages: [String] = []
    if value.utf8.count > 253 { messages.append(tooLong(253, "characters")) }
    let plain = value.utf8.map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "a") : $0 }
    let good =
      Pattern.isDNSSubdomain(plain) && !value.utf8.split(separator: UInt8(ascii: ".")).contains { $0.last == 0x5F }
    if !good {
      messages.append(
        pattern(
          """
          a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must \
          start and end with an alphanumeric character
          """, #"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"#, "example.com"))
    }
    return messages
  }

  /// A rule applied to a prefix that characters will be added to: a dash at its end is good.
  static func asPrefix(_ value: String, _ rule: (String) -> [String]) -> [String] {
    guard value.utf8.count > 1, value.hasSuffix("-") else { return rule(value) }
    return rule(String(value.dropLast(2)) + "a")
  }

  // MARK: the words of rules

  static func tooLong(_ most: Int, _ unit: String) -> String { "must be no more than \(most) \(unit)" }
  static func range(_ low: Int64, _ high: Int64) -> String { "must be between \(low) and \(high), inclusive" }

  /// A rule, examples that keep it, and its regular expression, put together as users know it.
  static func pattern(_ rule: String, _ regex: String, _ examples: String...) -> String {
    if examples.isEmpty { return "\(rule) (regex used for validation is '\(regex)')" }
    let shown = examples.map { "'\($0)', " }.joined(separator: " or ")
    return "\(rule) (e.g. \(shown)regex used for validation is '\(regex)')"
  }
}
