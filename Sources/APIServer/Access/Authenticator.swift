package import HTTPServer

/// Who sent a request, by what its connection proves.
///
/// A client certificate names the user (CN) and its groups (O). A process of root, or of the server's own user, on the
/// unix socket is the machine's administrator; so is the server's own process. Everything else is nobody.
package struct Authenticator: Sendable {
  /// The user that this process runs as, besides root.
  private let ownUser: UInt32

  package init(ownUser: UInt32 = 0) { self.ownUser = ownUser }

  /// - Returns: nil for nobody: answer 401.
  package func user(of request: HTTPRequest) -> UserInfo? {
    switch request.peer {
    case .certificate(let name, let organizations):
      guard !name.isEmpty else { return nil }
      return UserInfo(name: name, groups: organizations + [UserInfo.authenticatedGroup])
    case .unix(let user, _, _):
      guard user == 0 || user == ownUser else { return nil }
      return UserInfo(name: "system:admin", groups: [UserInfo.mastersGroup, UserInfo.authenticatedGroup])
    case .process:
      return UserInfo(name: "system:apiserver", groups: [UserInfo.mastersGroup, UserInfo.authenticatedGroup])
    case .anonymous:
      return nil
    }
  }
}
