import JSON
internal import Kernel
import OCISpec
internal import TOML

/// One place to ask for the images of a registry: the registry itself, or a mirror.
struct RegistryEndpoint: Hashable, Sendable {
  /// Scheme and host; its path ends before "/REPOSITORY/manifests/…": "/v2" for a registry.
  var base: RegistryURL
  /// Asked for what tags mean; without it, only for what a digest names.
  var resolves = true
  var pulls = true
  /// Not the registry itself.
  var isMirror = false
  var skipVerify = false
  /// Paths of PEM files.
  var authorities: [String] = []
  /// Path of a PEM file with certificate and, where it is nil, also the key.
  var clientCertificates: [ClientCertificate] = []
  var headers: [String: [String]] = [:]

  struct ClientCertificate: Hashable, Sendable {
    var certificate: String
    var key: String?
  }
}

/// Where to ask for a registry's images: `hosts.toml` files in containerd's format, one directory a registry.
enum RegistryHosts {
  /// Bytes of one file.
  static let fileBytesMax = 1 << 20
  private static let knownKeys: Set<String> = [
    "server", "host", "capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout",
  ]

  /// Mirrors in the file's order, then the registry itself. Blocks on the disk.
  /// - Throws: `RegistryError` that names the file and the key.
  static func endpoints(_ registry: String, directory: String?) throws(RegistryError) -> [RegistryEndpoint] {
    let own = RegistryEndpoint(base: defaultBase(registry))
    guard let directory else { return [own] }
    // A colon cannot be in every file name: HOST_PORT_ is the other spelling.
    let host = RegistryURL.host(of: registry)
    let port = registry.hasSuffix("]") ? "" : registry.split(separator: ":").last.map(String.init) ?? ""
    let hasPort = registry.contains(":") && !registry.hasSuffix("]")
    let names = (hasPort ? ["\(host)_\(port)_"] : []) + [registry, "_default"]
    for name in names {
      let path = "\(directory)/\(name)/hosts.toml"
      do {
        guard let text = try Files.readText(path, maxBytes: fileBytesMax) else { continue }
        return try parse(text, path: path, own: own)
      } catch let error as RegistryError {
        throw error
      } catch {
        throw RegistryError(
          .invalid, registry: registry, repository: "", stage: "read \(path)", "\(error)", cause: error)
      }
    }
    return [own]
  }

  private static func defaultBase(_ registry: String) -> RegistryURL {
    let authority = registry == ImageReference.defaultRegistry ? "registry-1.docker.io" : registry.lowercased()
    return RegistryURL(scheme: RegistryURL.isLoopback(authority) ? "http" : "https", authority: authority, path: "/v2")
  }

  static func parse(_ text: String, path: String, own: RegistryEndpoint) throws(RegistryError) -> [RegistryEndpoint] {
    let reader = HostsReader(path: path, registry: own.base.authority)
    let root: JSONObject
    do throws(TOMLError) {
      root = try TOML.parse(text)
    } catch {
      throw reader.refused("the file", "is not TOML: \(error)")
    }
    if let unknown = root.keys.first(where: { !knownKeys.contains($0) }) {
      throw reader.refused(unknown, "is not a known key")
    }
    var server = own
    if let text = root["server"]?.string, !text.isEmpty {
      server.base = try reader.base(text.contains("://") ? text : "https://\(text)", "server")
    }
    try reader.fill(&server, root, "")
    var endpoints: [RegistryEndpoint] = []
    // Mirrors are asked in the order written.
    for (key, value) in root["host"]?.object?.members ?? [] {
      guard let table = value.object else { throw reader.refused("host.\"\(key)\"", "is not a table") }
      if let unknown = table.keys.first(where: { !knownKeys.contains($0) || $0 == "server" || $0 == "host" }) {
        throw reader.refused("host.\"\(key)\".\(unknown)", "is not a known key")
      }
      var endpoint = RegistryEndpoint(
        base: try reader.base(key.contains("://") ? key : "https://\(key)", "host.\"\(key)\""))
      endpoint.isMirror = endpoint.base.origin != own.base.origin
      try reader.fill(&endpoint, table, "host.\"\(key)\".")
      endpoints.append(endpoint)
    }
    if !endpoints.contains(where: { $0.base == server.base }) { endpoints.append(server) }
    return endpoints
  }
}

private struct HostsReader {
  let path: String
  let registry: String

  func refused(_ key: String, _ problem: String) -> RegistryError {
    RegistryError(.invalid, registry: registry, repository: "", stage: "read \(path)", "\(key) \(problem)")
  }

  func base(_ text: String, _ key: String) throws(RegistryError) -> RegistryURL {
    guard var url = RegistryURL(text) else {
      throw refused(key, "\(ImageReference.shown(text)) is not an http or https URL")
    }
    while url.path.hasSuffix("/") { url.path.removeLast() }
    return url
  }

  func fill(_ endpoint: inout RegistryEndpoint, _ table: JSONObject, _ prefix: String) throws(RegistryError) {
    if let value = table["capabilities"] {
      guard let names = value.array?.map(\.string) else {
        throw refused("\(prefix)capabilities", "is not an array of strings")
      }
      for name in names where !["pull", "resolve", "push"].contains(name) {
        throw refused("\(prefix)capabilities", "has something other than pull, resolve and push")
      }
      endpoint.pulls = names.contains("pull")
      endpoint.resolves = names.contains("resolve")
    }
    endpoint.skipVerify = try bool(table, "skip_verify", prefix)
    endpoint.authorities = try strings(table["ca"], "\(prefix)ca").map(absolute)
    endpoint.clientCertificates = try clients(table["client"], "\(prefix)client")
    if let header = table["header"] {
      guard let members = header.object?.members else { throw refused("\(prefix)header", "is not a table") }
      for (name, value) in members { endpoint.headers[name] = try strings(value, "\(prefix)header.\(name)") }
    }
    if try !bool(table, "override_path", prefix), !endpoint.base.path.hasSuffix("/v2") { endpoint.base.path += "/v2" }
  }

  private func bool(_ table: JSONObject, _ key: String, _ prefix: String) throws(RegistryError) -> Bool {
    guard let value = table[key] else { return false }
    guard let bool = value.bool else { throw refused("\(prefix)\(key)", "is not true or false") }
    return bool
  }

  /// A string, or an array of them.
  private func strings(_ value: JSONValue?, _ key: String) throws(RegistryError) -> [String] {
    guard let value else { return [] }
    if let one = value.string { return [one] }
    let all = value.array?.compactMap(\.string) ?? []
    guard all.count == value.array?.count else { throw refused(key, "is neither a string nor an array of strings") }
    return all
  }

  /// One file with both, several such, or pairs of certificate and key.
  private func clients(_ value: JSONValue?, _ key: String) throws(RegistryError) -> [RegistryEndpoint.ClientCertificate]
  {
    guard let value else { return [] }
    guard let entries = value.array else {
      return try strings(value, key).map { RegistryEndpoint.ClientCertificate(certificate: absolute($0), key: nil) }
    }
    var found: [RegistryEndpoint.ClientCertificate] = []
    for entry in entries {
      let pair = try strings(entry, key)
      guard let certificate = pair.first, pair.count <= 2 else {
        throw refused(key, "has a pair of not one or two files")
      }
      let keyFile = pair.count == 2 && !pair[1].isEmpty ? absolute(pair[1]) : nil
      found.append(RegistryEndpoint.ClientCertificate(certificate: absolute(certificate), key: keyFile))
    }
    return found
  }

  private func absolute(_ file: String) -> String { file.hasPrefix("/") ? file : "\(Files.parent(of: path))/\(file)" }
}
