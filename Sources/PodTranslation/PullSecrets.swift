package import CRIModel
internal import JSON
package import KubeModel
internal import SwiftProtobuf

/// The credentials that a pod's `imagePullSecrets` hold for an image.
package enum PullSecrets {
  /// Where images without a registry come from, and the names under which its credentials are kept.
  private static let usualRegistries: Set<String> = ["docker.io", "index.docker.io", "registry-1.docker.io"]
  /// Characters of one such document; a Secret holds at most a mebibyte.
  private static let documentBytesMax = 1 << 20

  /// The first that fits, in the order of the secrets; nil: none fits, and the pull is anonymous.
  package static func credential(for image: String, in secrets: [Secret]) -> CRIAuthConfig? {
    let registry = registry(of: image)
    for secret in secrets {
      for (host, entry) in entries(secret) where matches(host, registry, image) {
        return CRIAuthConfig.with {
          $0.username = entry["username"]?.string ?? ""
          $0.password = entry["password"]?.string ?? ""
          $0.auth = entry["auth"]?.string ?? ""
          $0.identityToken = entry["identitytoken"]?.string ?? ""
          $0.registryToken = entry["registrytoken"]?.string ?? ""
          // Name and password say it twice.
          if !$0.username.isEmpty { $0.auth = "" }
        }
      }
    }
    return nil
  }

  private static func entries(_ secret: Secret) -> [(String, JSONValue)] {
    func document(_ key: String) -> JSONValue? {
      secret.allBytes[key].flatMap { try? JSONValue.parse($0, limits: JSONLimits(maxBytes: documentBytesMax)) }
    }
    let auths = document(".dockerconfigjson")?["auths"] ?? document(".dockercfg")
    // The most particular first: a path of a registry before the registry.
    return (auths?.object?.members ?? []).map { ($0.key, $0.value) }.sorted {
      ($0.0.utf8.count, $1.0) > ($1.0.utf8.count, $0.0)
    }
  }

  static func registry(of image: String) -> String {
    guard let slash = image.firstIndex(of: "/") else { return "docker.io" }
    let first = image[..<slash]
    return first.contains(".") || first.contains(":") || first == "localhost" ? String(first) : "docker.io"
  }

  private static func matches(_ written: String, _ registry: String, _ image: String) -> Bool {
    var host = written[...]
    for scheme in ["https://", "http://"] where host.hasPrefix(scheme) { host = host.dropFirst(scheme.count) }
    let place = host.drop { $0 != "/" }
    host = host.prefix { $0 != "/" }
    if usualRegistries.contains(registry), usualRegistries.contains(String(host)) { return true }
    guard host == registry else { return false }
    let isAPI = ["", "/", "/v1", "/v1/", "/v2", "/v2/"].contains(String(place))
    return isAPI || image.hasPrefix("\(registry)\(place)")
  }
}
