# provision.py CONF REALM DOMAIN HOST IP        password of Administrator on stdin
#
# Makes a new Active Directory domain in the directories that CONF names. Needs neither root nor extended attributes nor POSIX
# ACLs: the rights on sysvol are left alone, since LDAP, Kerberos and DNS never look at them.
import logging
import sys

import ldb
import samba.param
from samba.auth import system_session
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2
from samba.provision import FILL_FULL, provision

conf, realm, domain, host, ip = sys.argv[1:6]
password = sys.stdin.readline().rstrip("\n")

settings = samba.param.LoadParm()
settings.load(conf)
log = logging.getLogger("provision")
log.addHandler(logging.StreamHandler(sys.stderr))
log.setLevel(logging.WARNING)

made = provision(
    log, system_session(), smbconf=conf, samdb_fill=FILL_FULL, realm=realm, domain=domain,
    hostname=host, hostip=ip, adminpass=password, dns_backend="SAMBA_INTERNAL",
    serverrole="active directory domain controller", dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2,
    lp=settings, skip_sysvolacl=True)

# The service that would register this name is switched off; Kerberos binds to LDAP need it.
change = ldb.Message(ldb.Dn(made.samdb, "CN=%s,OU=Domain Controllers,%s" % (host.upper(), made.samdb.domain_dn())))
change["spn"] = ldb.MessageElement(["ldap/%s.%s" % (host, realm.lower())], ldb.FLAG_MOD_ADD, "servicePrincipalName")
made.samdb.modify(change)
