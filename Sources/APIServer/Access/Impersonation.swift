import HTTPServer
import JSON

/// `kubectl --as`: a user who may asks as another.
///
/// https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
extension Access {
  /// What one request may name, so that no header makes a decision long.
  private static let namesMax = 256

  /// The user whom a request means: who sent it, or whom that one may be.
  /// - Throws: 400 and 403.
  func effectiveUser(_ user: UserInfo, of request: HTTPRequest) throws(AccessRefusal) -> UserInfo {
    guard request.headers.fields.contains(where: { $0.name.lowercased().hasPrefix("impersonate-") }) else {
      return user
    }
    let wanted = try impersonated(request)
    let asked = { (resource: String, subresource: String, name: String, namespace: String, group: String) in
      AccessAttributes(
        verb: "impersonate", group: group, resource: resource, subresource: subresource, namespace: namespace,
        name: name)
    }
    if let (namespace, name) = Self.account(wanted.name) {
      try check(user, asked("serviceaccounts", "", name, namespace, ""))
    } else {
      try check(user, asked("users", "", wanted.name, "", ""))
    }
    for group in wanted.groups { try check(user, asked("groups", "", group, "", "")) }
    if !wanted.uid.isEmpty { try check(user, asked("uids", "", wanted.uid, "", "authentication.k8s.io")) }
    for (key, values) in wanted.extra.sorted(by: { $0.key < $1.key }) {
      for value in values { try check(user, asked("userextras", key, value, "", "authentication.k8s.io")) }
    }
    return Self.completed(wanted)
  }

  private func impersonated(_ request: HTTPRequest) throws(AccessRefusal) -> UserInfo {
    var wanted = UserInfo(name: request.headers["impersonate-user"] ?? "", groups: [])
    var count = 0
    for field in request.headers.fields {
      let name = field.name.lowercased()
      guard name.hasPrefix("impersonate-"), name != "impersonate-user" else { continue }
      count += 1
      guard count <= Self.namesMax else { throw .badRequest("more than \(Self.namesMax) impersonation headers") }
      switch name {
      case "impersonate-group": wanted.groups.append(field.value)
      case "impersonate-uid": wanted.uid = field.value
      default:
        guard name.hasPrefix("impersonate-extra-") else { continue }
        let key = name.dropFirst("impersonate-extra-".count)
        wanted.extra[Self.percentDecoded(String(key)), default: []].append(field.value)
      }
    }
    guard !wanted.name.isEmpty else {
      throw AccessRefusal(
        code: 500, reason: "InternalError",
        message: "Internal error occurred: requested \(wanted) without impersonating a user",
        details: [:])
    }
    return wanted
  }

  /// Namespace and name of the service account that a user name means.
  static func account(_ user: String) -> (namespace: String, name: String)? {
    let parts = user.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "system", parts[1] == "serviceaccount" else { return nil }
    return (String(parts[2]), String(parts[3]))
  }

  /// With the groups that everybody of that name is in.
  private static func completed(_ user: UserInfo) -> UserInfo {
    var user = user
    if let (namespace, _) = account(user.name), user.groups.isEmpty {
      user.groups = ["system:serviceaccounts", "system:serviceaccounts:\(namespace)"]
    }
    let isAnonymous = user.name == UserInfo.anonymous.name
    let group = isAnonymous ? "system:unauthenticated" : UserInfo.authenticatedGroup
    if !user.groups.contains(group), !user.groups.contains("system:unauthenticated") { user.groups.append(group) }
    return user
  }

  private static func percentDecoded(_ text: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
