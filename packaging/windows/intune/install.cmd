@echo off
rem Intune win32 app: install command. Put your values here, or leave a line out.
rem Place digime-sync.msi beside this file (the .msi of the release, renamed).
msiexec /i "%~dp0digime-sync.msi" /qn /norestart /l*v "%SystemRoot%\Temp\digime-sync-install.log" ^
  CONFIGURL="https://config.example/digime/" ^
  CONFIGKEY="PUBLIC-KEY-OF-FLEET-KEYGEN"
exit /b %ERRORLEVEL%
