internal import Kernel

/// Which proxy leads to which host: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as most tools of this field read them.
package struct RegistryProxies: Hashable, Sendable {
  /// An HTTP proxy; https goes through it by CONNECT.
  package struct Proxy: Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: Int
    /// For basic authentication; nil for none.
    package var username: String?
    package var password: String

    /// Never shows a secret.
    package var description: String { "\(host):\(port)" }
  }

  private var plain: Proxy?
  private var secure: Proxy?
  private var direct: [String]
  /// What of the variables cannot be used, as sentences for the log.
  package private(set) var problems: [String] = []

  private static let portDefault = 80

  package static let none = RegistryProxies(http: nil, https: nil, except: nil)

  /// From this process's environment; the upper-case name counts where both are set.
  package static var environment: RegistryProxies {
    func value(_ name: String) -> String? { environmentVariable(name) ?? environmentVariable(name.lowercased()) }
    return RegistryProxies(http: value("HTTP_PROXY"), https: value("HTTPS_PROXY"), except: value("NO_PROXY"))
  }

  /// - Parameters:
  ///   - http, https: "http://[user:password@]host[:port]", or without scheme. TLS to the proxy itself is not supported.
  ///   - except: hosts, ".suffixes" and domains with all below them, addresses, "address/bits", each with ":port" where
  ///     only that is meant, separated by commas; "*" is everything.
  package init(http: String?, https: String?, except: String?) {
    direct = (except ?? "").split(separator: ",").map { $0.filter { $0 != " " }.lowercased() }.filter { !$0.isEmpty }
    plain = read(http, "HTTP_PROXY")
    secure = read(https, "HTTPS_PROXY")
  }

  private mutating func read(_ text: String?, _ variable: String) -> Proxy? {
    guard let text, !text.isEmpty else { return nil }
    guard let proxy = Self.proxy(text) else {
      problems.append("\(variable) is not http://[user:password@]host[:port]; registries are reached without it")
      return nil
    }
    return proxy
  }

  private static func proxy(_ text: String) -> Proxy? {
    var rest = Substring(text)
    if let separator = rest.firstRange(of: "://") {
      guard rest[..<separator.lowerBound].lowercased() == "http" else { return nil }
      rest = rest[separator.upperBound...]
    }
    rest = rest.prefix { $0 != "/" }
    var user: (name: String, password: String)?
    if let at = rest.lastIndex(of: "@") {
      let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = unescaped(parts[0]), let password = parts.count == 2 ? unescaped(parts[1]) : "" else {
        return nil
      }
      user = (name, password)
      rest = rest[rest.index(after: at)...]
    }
    let authority = String(rest)
    let host = RegistryURL.host(of: authority)
    guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), let port = port(of: authority) else {
      return nil
    }
    return Proxy(host: host, port: port, username: user?.name, password: user?.password ?? "")
  }

  private static func port(of authority: String) -> Int? {
    let tail = authority.hasPrefix("[") ? authority.drop { $0 != "]" }.dropFirst() : authority.drop { $0 != ":" }
    guard !tail.isEmpty else { return portDefault }
    guard let port = UInt16(tail.dropFirst()), port > 0 else { return nil }
    return Int(port)
  }

  /// Undoes percent-encoding; nil where it is none.
  private static func unescaped(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = Substring(text).utf8
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
        return nil
      }
      bytes.append(code)
      rest = rest.dropFirst(2)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The proxy to reach `url` by; nil reaches it directly. This machine is never asked for through a proxy.
  func proxy(for url: RegistryURL) -> Proxy? {
    guard let proxy = url.scheme == "https" ? secure : plain, !RegistryURL.isLoopback(url.authority) else { return nil }
    return direct.contains { Self.matches($0, url) } ? nil : proxy
  }

  /// The proxy for a URL as a text, for tests and messages; nil reaches it directly, or it is no URL.
  package func shown(for url: String) -> String? { RegistryURL(url).flatMap(proxy)?.description }

  private static func matches(_ entry: String, _ url: RegistryURL) -> Bool {
    if entry == "*" { return true }
    let host = RegistryURL.host(of: url.authority)
    if let prefix = IPPrefix(entry) { return IPAddress(host).map(prefix.contains) ?? false }
    if let address = IPAddress(entry) { return IPAddress(host) == address }
    var name = entry
    if !entry.hasPrefix("["), let colon = entry.lastIndex(of: ":") {
      let port = url.origin.split(separator: ":").last.map(String.init) ?? ""
      guard entry[entry.index(after: colon)...] == port else { return false }
      name = String(entry[..<colon])
    }
    if name.hasPrefix("*.") { name.removeFirst() }
    return name.hasPrefix(".") ? host.hasSuffix(name) : host == name || host.hasSuffix("." + name)
  }
}
