/// The forms of names that Kubernetes allows. Names become parts of paths, so these are also a matter of safety.
package enum Names {
  /// RFC 1123 label: lower case letters, digits and inner hyphens, at most 63.
  package static func isLabel(_ name: String) -> Bool {
    (1...63).contains(name.utf8.count) && name.utf8.allSatisfy { isLowerOrDigit($0) || $0 == UInt8(ascii: "-") }
      && !name.hasPrefix("-") && !name.hasSuffix("-")
  }

  /// RFC 1123 subdomain: labels with dots between, at most 253.
  package static func isSubdomain(_ name: String) -> Bool {
    (1...253).contains(name.utf8.count)
      && name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { isLabel(String($0)) }
  }

  /// A key of a ConfigMap or Secret: also a file's name.
  package static func isKey(_ key: String) -> Bool {
    (1...253).contains(key.utf8.count) && key != "." && !key.hasPrefix("..")
      && key.utf8.allSatisfy {
        isLowerOrDigit($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) || "-._".utf8.contains($0)
      }
  }

  /// A uid: what can stand in a path by itself.
  package static func isUID(_ uid: String) -> Bool { isKey(uid) && uid.utf8.count <= 128 && !uid.hasPrefix(".") }

  /// A relative path that stays where it is: no empty, `.` or `..` step.
  package static func isInnerPath(_ path: String) -> Bool {
    !path.isEmpty && path.utf8.count <= 4095 && !path.utf8.contains(0)
      && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && $0 != "." && $0 != ".." && $0.utf8.count <= 255
      }
  }

  private static func isLowerOrDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}
