/// Where etcd is, how it is reached, and what is waited for.
package struct EtcdOptions: Equatable, Sendable {
  /// One server, as `https://10.0.0.1:2379`.
  package struct Server: Hashable, Sendable, CustomStringConvertible {
    package static let usualPort = 2379

    package let host: String
    package let port: Int
    package let usesTLS: Bool

    /// - Throws: what is wrong with the text.
    package init(_ text: String) throws(EtcdOptionError) {
      let rest: Substring
      if text.hasPrefix("https://") {
        (rest, usesTLS) = (text.dropFirst(8), true)
      } else if text.hasPrefix("http://") {
        (rest, usesTLS) = (text.dropFirst(7), false)
      } else {
        throw EtcdOptionError(reason: "\"\(text)\" is no server such as https://10.0.0.1:2379")
      }
      let place = rest.last == "/" ? rest.dropLast() : rest
      let end: Substring.Index
      if place.first == "[", let bracket = place.firstIndex(of: "]") {
        host = String(place[place.index(after: place.startIndex)..<bracket])
        end = place.index(after: bracket)
      } else {
        end = place.firstIndex(of: ":") ?? place.endIndex
        host = String(place[..<end])
      }
      let number = place[end...]
      let port = number.isEmpty ? Self.usualPort : number.first == ":" ? Int(number.dropFirst()) ?? 0 : 0
      guard !host.isEmpty, !host.contains("/"), (1...65_535).contains(port) else {
        throw EtcdOptionError(reason: "\"\(text)\" is no server such as https://10.0.0.1:2379")
      }
      self.port = port
    }

    package var description: String {
      "\(usesTLS ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
  }

  /// More make no etcd safer.
  private static let serversMax = 16
  package static let usualPrefix = "/martlet"

  package let servers: [Server]
  /// PEM files: who signed the servers' certificates, and who we are.
  package let authorityFile: String?
  package let certificateFile: String?
  package let keyFile: String?
  /// Before every key; ends in no slash.
  package let prefix: String

  /// How long opening waits for an etcd that does not answer.
  package var openSeconds = 30.0
  /// How long one request may take.
  package var requestSeconds = 10.0
  /// How long a transaction is tried in all.
  package var commitSeconds = 30.0

  package init(
    servers: [String], authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
    prefix: String = usualPrefix
  ) throws(EtcdOptionError) {
    var found: [Server] = []
    for text in servers { found.append(try Server(text)) }
    guard !found.isEmpty, found.count <= Self.serversMax else {
      throw EtcdOptionError(reason: "1 to \(Self.serversMax) servers, not \(found.count)")
    }
    guard (certificateFile == nil) == (keyFile == nil) else {
      throw EtcdOptionError(reason: "a certificate and its key are given together, or neither")
    }
    let isGuarded = authorityFile != nil || certificateFile != nil
    if isGuarded, let plain = found.first(where: { !$0.usesTLS }) {
      throw EtcdOptionError(
        reason: "\(plain) is spoken to without TLS: the certificates would not be used; use https://")
    }
    var prefix = prefix[...]
    while prefix.last == "/" { prefix = prefix.dropLast() }
    guard prefix.first == "/", prefix.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw EtcdOptionError(
        reason: "prefix \"\(prefix)\": printable characters behind a slash, such as \(Self.usualPrefix)")
    }
    self.servers = found
    self.authorityFile = authorityFile
    self.certificateFile = certificateFile
    self.keyFile = keyFile
    self.prefix = String(prefix)
  }

  /// For messages: `etcd at https://10.0.0.1:2379 below /martlet`.
  package var place: String {
    "etcd at \(servers.map(\.description).joined(separator: ",")) below \(prefix)"
  }
}

/// Options that say nothing that can be done.
package struct EtcdOptionError: Error, Hashable, CustomStringConvertible {
  package let reason: String
  package var description: String { reason }
}
