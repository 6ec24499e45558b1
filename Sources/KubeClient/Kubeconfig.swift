internal import JSON
internal import Kernel
internal import KubeModel
internal import YAML

/// Where an API server is and how to prove who one is: one context of a kubeconfig file.
///
/// Read are `clusters`, `users` and `contexts` with server, tls-server-name, certificate authority, client certificate and
/// key (as data or files), token, tokenFile, username and password. Helpers that are other programs (`exec`,
/// `auth-provider`), `proxy-url` and impersonation (`as`) are refused by name.
package struct Kubeconfig: Hashable, Sendable {
  /// Something that stands in the file (base64 there) or in another file.
  package enum Material: Hashable, Sendable {
    case bytes([UInt8])
    case file(String)
  }
  /// `https://host:port`, with a path where the server has one.
  package var server: String
  /// Nil: the authorities that the system trusts.
  package var certificateAuthority: Material?
  /// Takes any certificate for the server's: for experiments.
  package var isInsecure = false
  /// The name in the server's certificate, where it is not the host of `server`.
  package var tlsServerName: String?
  package var clientCertificate: Material?
  package var clientKey: Material?
  package var token: Material?
  package var basic: String?
  /// Of the context; nil where it names none.
  package var namespace: String?
  package var contextName = ""

  package init(server: String) { self.server = server }

  static let fileBytesMax = 4 << 20

  /// Reads a file. Blocks on the disk.
  /// - Parameter context: nil for the file's `current-context`.
  package static func load(path: String, context: String? = nil) throws(KubeError) -> Kubeconfig {
    let bytes = try read(path, "kubeconfig")
    return try parse(String(decoding: bytes, as: UTF8.self), context: context, path: path)
  }

  static func read(_ path: String, _ what: String) throws(KubeError) -> [UInt8] {
    do throws(SyscallError) {
      return try Files.read(path, maxBytes: fileBytesMax)
    } catch {
      throw KubeError(.configuration, message: "the \(what) cannot be read: \(error)")
    }
  }

  /// - Parameter path: of the file, for messages; paths in it are relative to its directory.
  package static func parse(_ text: String, context: String? = nil, path: String) throws(KubeError) -> Kubeconfig {
    let documents: [JSONValue]
    do throws(YAMLError) { documents = try YAML.parse(text) } catch { throw wrong(path, "\(error)") }
    guard documents.count == 1, let root = documents.first, root.object != nil else {
      throw wrong(path, "one document with clusters, users and contexts is needed, there are \(documents.count)")
    }
    let reader = KubeconfigReader(root: root, path: path)
    return try reader.context(context)
  }

  fileprivate static func wrong(_ path: String, _ detail: String) -> KubeError {
    KubeError(.configuration, message: "kubeconfig \(path): \(detail)")
  }
}

private struct KubeconfigReader {
  let root: JSONValue
  let path: String

  func context(_ wanted: String?) throws(KubeError) -> Kubeconfig {
    guard let name = wanted ?? text(root, "current-context"), !name.isEmpty else {
      throw Kubeconfig.wrong(path, "no current-context; set one with kubectl config use-context")
    }
    let context = try entry("contexts", "context", name)
    let cluster = try entry("clusters", "cluster", text(context, "cluster") ?? "")
    guard let server = text(cluster, "server"), server.hasPrefix("https://") || server.hasPrefix("http://") else {
      throw Kubeconfig.wrong(path, "the cluster of context \(name) has no server that begins with https:// or http://")
    }
    var found = Kubeconfig(server: server)
    found.contextName = name
    found.namespace = text(context, "namespace")
    try refuse(cluster, ["proxy-url"], "cluster")
    found.certificateAuthority = try material(cluster, "certificate-authority")
    found.isInsecure = cluster["insecure-skip-tls-verify"]?.bool ?? false
    found.tlsServerName = text(cluster, "tls-server-name")
    if found.isInsecure, found.certificateAuthority != nil {
      throw Kubeconfig.wrong(path, "insecure-skip-tls-verify and a certificate-authority exclude each other")
    }
    guard let user = text(context, "user") else { return found }
    try addUser(try entry("users", "user", user), to: &found)
    return found
  }

  private func addUser(_ user: JSONValue, to found: inout Kubeconfig) throws(KubeError) {
    try refuse(user, ["exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"], "user")
    found.clientCertificate = try material(user, "client-certificate")
    found.clientKey = try material(user, "client-key")
    guard (found.clientCertificate == nil) == (found.clientKey == nil) else {
      throw Kubeconfig.wrong(path, "client-certificate and client-key come together; one is missing")
    }
    if let file = text(user, "tokenFile") {
      found.token = .file(absolute(file))
    } else if let token = text(user, "token") {
      found.token = .bytes(Array(token.utf8))
    }
    if let name = text(user, "username") {
      found.basic = Base64.encode(Array("\(name):\(text(user, "password") ?? "")".utf8))
    }
  }

  private func entry(_ list: String, _ member: String, _ name: String) throws(KubeError) -> JSONValue {
    let entries = root[list]?.array ?? []
    guard let found = entries.first(where: { $0["name"]?.string == name })?[member], found.object != nil else {
      throw Kubeconfig.wrong(path, "\(list) has no entry named \"\(name)\"")
    }
    return found
  }

  private func text(_ object: JSONValue, _ key: String) -> String? {
    guard let text = object[key]?.string, !text.isEmpty else { return nil }
    return text
  }

  /// The bytes beside it win, as in kubectl.
  private func material(_ object: JSONValue, _ key: String) throws(KubeError) -> Kubeconfig.Material? {
    if let data = text(object, "\(key)-data") {
      guard let bytes = Base64.decode(data) else { throw Kubeconfig.wrong(path, "\(key)-data is not base64") }
      return .bytes(bytes)
    }
    return text(object, key).map { .file(absolute($0)) }
  }

  private func refuse(_ object: JSONValue, _ keys: [String], _ what: String) throws(KubeError) {
    for key in keys where object[key].map({ !$0.isNull }) ?? false {
      throw Kubeconfig.wrong(path, "\(key) of a \(what) is not supported; use a client certificate or a token")
    }
  }

  private func absolute(_ file: String) -> String {
    file.hasPrefix("/") ? file : "\(Files.parent(of: path))/\(file)"
  }
}
